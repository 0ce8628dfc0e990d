/** CometD's server for Node, which supports long-polling only: node cometd.js PORT */
import {createServer} from "node:http";
import cometd from "cometd-nodejs-server";

const bayeux = cometd.createCometDServer({
    timeout: 45000,
    maxInterval: 60000,
    maxMessageSize: 1 << 20,
    maxSessionsPerBrowser: -1,
});
const server = createServer((request, response) => bayeux.handle(request, response));
server.listen({port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096});
