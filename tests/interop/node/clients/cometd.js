import {arrival, publishAll, summary} from "./host.js";

const MEGABYTE = 1024 * 1024;

/** One CometD client. */
export class CometDClient {
    #emit;
    #cometd;
    #handles = new Map();

    /** library: the module "cometd" */
    constructor(library, emit) {
        this.#emit = emit;
        this.#cometd = new library.CometD();
    }

    async open({url, transport, ext}) {
        const cometd = this.#cometd;
        for (const type of cometd.getTransportTypes()) {
            if (type !== transport) {
                cometd.unregisterTransport(type);
            }
        }
        cometd.configure({url, maxSendBayeuxMessageSize: MEGABYTE, logLevel: "warn"});
        for (const operation of ["handshake", "connect", "subscribe", "unsubscribe", "disconnect"]) {
            cometd.addListener(`/meta/${operation}`, message => this.#replied(message));
        }
        cometd.registerExtension("arrivals", {
            incoming: message => {
                if (message.successful === undefined) {
                    this.#emit(arrival(message));
                }
                return message;
            },
        });
        const connected = new Promise(resolve => {
            const listener = cometd.addListener("/meta/connect", message => {
                if (message.successful) {
                    cometd.removeListener(listener);
                    resolve();
                }
            });
        });
        let first;
        const handshaken = new Promise(resolve => first = resolve);
        // Called again for each handshake that the client makes by itself.
        cometd.handshake(ext ? {ext} : {}, message => {
            first?.(summary(message));
            first = null;
        });
        const handshake = await handshaken;
        if (handshake.successful) {
            await connected;
        }
        return handshake;
    }

    async subscribe({channel}) {
        return new Promise(resolve => this.#subscribe(channel, message => resolve(summary(message))));
    }

    #subscribe(channel, callback) {
        const handle = this.#cometd.subscribe(channel, message => {
            const {channel: name, data} = message;
            this.#emit({event: "message", subscription: channel, channel: name, data});
        }, callback);
        this.#handles.set(channel, handle);
    }

    async unsubscribe({channel}) {
        const handle = this.#handles.get(channel);
        this.#handles.delete(channel);
        return new Promise(resolve => {
            this.#cometd.unsubscribe(handle, message => resolve(summary(message)));
        });
    }

    async publish({channel, data}) {
        return new Promise(resolve => {
            this.#cometd.publish(channel, data, message => resolve(summary(message)));
        });
    }

    async publishAll(command) {
        return publishAll(data => this.publish({channel: command.channel, data}), command);
    }

    async disconnect() {
        return new Promise(resolve => this.#cometd.disconnect(message => resolve(summary(message))));
    }

    async transport() {
        return this.#cometd.getTransport().type;
    }

    async close() {
        this.#cometd.disconnect();
    }

    #replied(message) {
        this.#emit({event: "reply", ...summary(message)});
        // CometD's client forgets its subscriptions at each handshake; its documentation tells
        // applications to make them in a listener of it.
        if (message.channel === "/meta/handshake" && message.reestablish) {
            this.#cometd.batch(() => {
                for (const channel of [...this.#handles.keys()]) {
                    this.#subscribe(channel);
                }
            });
        }
    }
}
