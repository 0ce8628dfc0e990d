import {arrival, publishAll, summary, until} from "./host.js";

// In the order in which Faye's client prefers them.
const TRANSPORTS = [
    "in-process", "websocket", "eventsource",
    "long-polling", "cross-origin-long-polling", "callback-polling",
];

/** One Faye client, of its node or its browser build. */
export class FayeClient {
    #Faye;
    #emit;
    #client;
    #subscriptions = new Map();
    #waiting = new Map();

    constructor(Faye, emit) {
        this.#Faye = Faye;
        this.#emit = emit;
    }

    async open({url, transport, ext}) {
        const client = this.#client = new this.#Faye.Client(url, {retry: 1});
        // Only what is preferred to the wanted transport may be disabled: the handshake goes
        // over one of the less preferred ones.
        for (const better of TRANSPORTS.slice(0, TRANSPORTS.indexOf(transport))) {
            client.disable(better);
        }
        client.addExtension({
            outgoing: (message, callback) => {
                if (message.channel === "/meta/handshake" && ext) {
                    message.ext = ext;
                }
                callback(message);
            },
            incoming: (message, callback) => {
                if (message.successful === undefined) {
                    this.#emit(arrival(message));
                }
                callback(message);
                if (message.successful !== undefined) {
                    this.#replied(message);
                }
            },
        });
        client.on("transport:down", () => this.#emit({event: "down"}));
        client.on("transport:up", () => this.#emit({event: "up"}));
        const reply = this.#next("/meta/handshake");
        client.connect();
        const handshake = await reply;
        if (handshake.successful) {
            await until(() => client._dispatcher.connectionType === transport);
        }
        return handshake;
    }

    async subscribe({channel}) {
        const subscription = this.#client.subscribe(channel);
        subscription.withChannel((name, data) => {
            this.#emit({event: "message", subscription: channel, channel: name, data});
        });
        this.#subscriptions.set(channel, subscription);
        return outcome(subscription);
    }

    async unsubscribe({channel}) {
        const reply = this.#next("/meta/unsubscribe");
        this.#subscriptions.get(channel).cancel();
        return reply;
    }

    async publish({channel, data}) {
        return outcome(this.#client.publish(channel, data));
    }

    async publishAll(command) {
        return publishAll(data => this.publish({channel: command.channel, data}), command);
    }

    async disconnect() {
        return outcome(this.#client.disconnect());
    }

    async transport() {
        return this.#client._dispatcher.connectionType;
    }

    async close() {
        // A client that was refused or cut off would try again for ever.
        this.#client.disconnect();
        this.#client._advice.reconnect = "none";
    }

    #next(channel) {
        return new Promise(resolve => this.#waiting.set(channel, resolve));
    }

    #replied(message) {
        const reply = summary(message);
        if (message.channel.startsWith("/meta/")) {
            this.#emit({event: "reply", ...reply});
        }
        const resolve = this.#waiting.get(message.channel);
        this.#waiting.delete(message.channel);
        resolve?.(reply);
    }
}

async function outcome(promise) {
    try {
        await promise;
        return {successful: true};
    } catch (error) {
        return {
            successful: false,
            error: `${error.code}:${(error.params ?? []).join(",")}:${error.message}`,
        };
    }
}
