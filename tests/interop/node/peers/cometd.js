/**
 * CometD's own server for Node, which knows long-polling only:
 * node cometd.js PORT TIMEOUT, in seconds
 */
import {createServer} from "node:http";
import cometd from "cometd-nodejs-server";

import {refuses} from "./rules.js";

const [port, timeout] = process.argv.slice(2);
const bayeux = cometd.createCometDServer({timeout: Number(timeout) * 1000, maxSessionsPerBrowser: -1});
const allow = (session, message, channel, callback) => callback(null, !refuses(message));
bayeux.policy = {
    canHandshake: (session, message, callback) => callback(null, !refuses(message)),
    canSubscribe: allow,
    canPublish: allow,
};
const server = createServer((request, response) => {
    if (request.url.startsWith("/bayeux")) {
        bayeux.handle(request, response);
        return;
    }
    response.writeHead(404, {"Content-Type": "text/html"});
    response.end("<!doctype html><title>no page</title>No page here.");
});
server.listen(Number(port), "127.0.0.1");
