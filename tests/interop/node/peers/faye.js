/** Faye's own server: node faye.js PORT TIMEOUT, in seconds */
import {createServer} from "node:http";
import Faye from "faye";

import {ERROR, refuses} from "./rules.js";

const [port, timeout] = process.argv.slice(2);
const bayeux = new Faye.NodeAdapter({mount: "/bayeux", timeout: Number(timeout)});
bayeux.addExtension({
    incoming(message, callback) {
        if (refuses(message)) {
            message.error = ERROR;
        }
        callback(message);
    },
});
const server = createServer((request, response) => {
    response.writeHead(404, {"Content-Type": "text/html"});
    response.end("<!doctype html><title>no page</title>No page here.");
});
bayeux.attach(server);
server.listen(Number(port), "127.0.0.1");
