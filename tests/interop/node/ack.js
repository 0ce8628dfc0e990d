/**
 * CometD's client with its AckExtension: node ack.js URL TRANSPORT CHANNEL
 *
 * Prints JSON lines: {"handshake": ...}, {"ready": true}, and {"data": ...} for each message.
 */
import {adapt} from "cometd-nodejs-client";
adapt();
const {CometD} = await import("cometd");
const {AckExtension} = await import("cometd/AckExtension.js");

const [url, transport, channel] = process.argv.slice(2);
const cometd = new CometD();
const print = value => process.stdout.write(JSON.stringify(value) + "\n");
for (const type of cometd.getTransportTypes()) {
    if (type !== transport) {
        cometd.unregisterTransport(type);
    }
}
cometd.registerExtension("ack", new AckExtension());
cometd.configure({url, logLevel: "warn", backoffIncrement: 50, maxBackoff: 200, maxNetworkDelay: 3000});
let ready = false;
cometd.addListener("/meta/handshake", reply => {
    print({handshake: reply.successful, ack: reply.ext?.ack});
    if (reply.successful) {
        const subscribe = () => cometd.subscribe(channel, message => print({data: message.data}), answer => {
            if (answer.successful) {
                if (!ready) {
                    print({ready: true});
                }
                ready = true;
            } else if (!ready) {
                setTimeout(subscribe, 50);
            }
        });
        subscribe();
    }
});
cometd.handshake();
