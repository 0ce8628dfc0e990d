/** Faye's server, in memory or on Redis: node faye.js PORT [REDIS_PORT] */
import {createRequire} from "node:module";
import {createServer} from "node:http";
import Faye from "faye";

const [port, redisPort] = process.argv.slice(2).map(Number);
const engine = redisPort
    ? {type: createRequire(import.meta.url)("faye-redis"), host: "127.0.0.1", port: redisPort}
    : {};
const bayeux = new Faye.NodeAdapter({mount: "/bayeux", timeout: 45, engine});
const server = createServer();
bayeux.attach(server);
server.listen({port, host: "127.0.0.1", backlog: 4096});
