/**
 * CometD's client calls functions of the server, and asks it for the time: node call.js URL TRANSPORT
 *
 * Prints a JSON line for each call, {"call": name, "successful": ..., "data": ..., "error": ...}, and at the
 * end {"handshake": what the server said of its time, "offset": of its clock, in milliseconds}.
 */
import {adapt} from "cometd-nodejs-client";
adapt();
const {CometD} = await import("cometd");
const {TimeSyncExtension} = await import("cometd/TimeSyncExtension.js");

const [url, transport] = process.argv.slice(2);
const cometd = new CometD();
for (const type of cometd.getTransportTypes()) {
    if (type !== transport) {
        cometd.unregisterTransport(type);
    }
}
const time = new TimeSyncExtension();
cometd.registerExtension("timesync", time);
cometd.configure({url, logLevel: "warn"});

/** timeout: milliseconds */
function call(name, content, timeout) {
    return new Promise(resolve => cometd.remoteCall(name, content, timeout, answer => {
        const {successful, data, error} = answer;
        process.stdout.write(JSON.stringify({call: name, successful, data, error}) + "\n");
        resolve();
    }));
}

const handshake = await new Promise(resolve => cometd.handshake(resolve));
await call("/words", {text: "to be or not to be"}, 60000);
await call("/words", {text: 7}, 60000);
await Promise.all(["a", "a b", "a b c"].map(text => call("/words", {text}, 60000)));
await call("/nobody", {}, 500);
const offset = time.getTimeOffset();
process.stdout.write(JSON.stringify({handshake: handshake.ext?.timesync, offset}) + "\n");
await new Promise(resolve => cometd.disconnect(resolve));
