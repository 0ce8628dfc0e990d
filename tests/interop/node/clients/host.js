/**
 * What every interoperability program does with the driver's commands, in Node and in a page.
 *
 * A command is `{do, client, ...}`. Each client is one client of one family; families maps a
 * family's name to a function `(emit, command) => client`. Whatever a client observes goes out
 * through `emit({client, event, ...})`.
 */
export class ClientHost {
    #families;
    #emit;
    #clients = new Map();

    constructor(families, emit) {
        this.#families = families;
        this.#emit = emit;
    }

    async perform(command) {
        const name = command.client;
        if (command.do === "open") {
            const emit = event => this.#emit({client: name, ...event});
            const client = this.#families[command.family](emit);
            this.#clients.set(name, client);
            return client.open(command);
        }
        const client = this.#clients.get(name);
        if (!client) {
            throw new Error(`no client ${name}`);
        }
        if (command.do === "close") {
            this.#clients.delete(name);
        }
        return client[command.do](command);
    }
}

/** Publish the items in order: each after the reply to the one before, or all at once. */
export async function publishAll(publish, {items, pipelined}) {
    if (pipelined) {
        return Promise.all(items.map(publish));
    }
    const replies = [];
    for (const item of items) {
        replies.push(await publish(item));
    }
    return replies;
}

/** The part of a reply that the driver looks at. */
export function summary({channel, successful, error, subscription}) {
    return {channel, successful: successful === true, error, subscription};
}

/**
 * The event for a message that came over the wire, replies apart, whether or not anyone listens:
 * the clients hide further copies, and what they have unsubscribed from.
 */
export function arrival(message) {
    return {event: "arrival", channel: message.channel};
}

/** Wait for a state that its owner does not announce. The driver bounds the wait. */
export async function until(condition) {
    while (!condition()) {
        await new Promise(resolve => setTimeout(resolve, 10));
    }
}
