/**
 * What every interoperability program does with the driver's commands, in Node and in a page.
 *
 * A command is `{do, actor, ...}`. Each actor is one client of one family; families maps a
 * family's name to a function `(emit, command) => actor`. Whatever an actor observes goes out
 * through `emit({actor, event, ...})`.
 */
export class Stage {
    #families;
    #emit;
    #actors = new Map();

    constructor(families, emit) {
        this.#families = families;
        this.#emit = emit;
    }

    async perform(command) {
        const name = command.actor;
        if (command.do === "open") {
            const emit = event => this.#emit({actor: name, ...event});
            const actor = this.#families[command.family](emit);
            this.#actors.set(name, actor);
            return actor.open(command);
        }
        const actor = this.#actors.get(name);
        if (!actor) {
            throw new Error(`no actor ${name}`);
        }
        if (command.do === "close") {
            this.#actors.delete(name);
        }
        return actor[command.do](command);
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
