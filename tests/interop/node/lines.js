import {createInterface} from "node:readline";

// Libraries write to the console; standard output belongs to the driver.
for (const name of ["log", "info", "debug"]) {
    console[name] = console.error;
}

export function say(message) {
    process.stdout.write(JSON.stringify(message) + "\n");
}

/** Perform the driver's commands, several at a time if it sends several, until it hangs up. */
export async function listen(perform) {
    for await (const line of createInterface({input: process.stdin})) {
        const {id, ...command} = JSON.parse(line);
        perform(command).then(
            result => say({id, result: result ?? null}),
            error => say({id, failed: String(error?.stack ?? error)}),
        );
    }
}
