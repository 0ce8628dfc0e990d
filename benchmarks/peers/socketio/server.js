/** Socket.IO's server, with its adapter for Redis streams: node server.js PORT REDIS_PORT */
import {createServer} from "node:http";
import {createAdapter} from "@socket.io/redis-streams-adapter";
import {createClient} from "redis";
import {Server} from "socket.io";

const [port, redisPort] = process.argv.slice(2).map(Number);
const redis = createClient({url: `redis://127.0.0.1:${redisPort}`});
await redis.connect();
const server = createServer();
const io = new Server(server, {
    adapter: createAdapter(redis),
    transports: ["websocket"],
    serveClient: false,
});
io.on("connection", (socket) => {
    socket.on("subscribe", async (room, done) => {
        await socket.join(room);
        done();
    });
    socket.on("publish", (room, data, done) => {
        io.to(room).emit("message", data);
        done();
    });
});
server.listen({port, host: "127.0.0.1", backlog: 4096});
