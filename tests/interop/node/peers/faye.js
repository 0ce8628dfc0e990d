/** Faye's own server: node faye.js PORT */
import {createServer} from "node:http";
import Faye from "faye";

import {ERROR, refuses} from "./rules.js";

const bayeux = new Faye.NodeAdapter({mount: "/bayeux", timeout: 10});
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
server.listen(Number(process.argv[2]), "127.0.0.1");
