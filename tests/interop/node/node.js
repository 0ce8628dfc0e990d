/** Faye's and CometD's JavaScript clients in Node, driven by JSON lines. */
import Faye from "faye";
import {adapt} from "cometd-nodejs-client";

import {CometDClient} from "./clients/cometd.js";
import {FayeClient} from "./clients/faye.js";
import {ClientHost} from "./clients/host.js";
import {listen, say} from "./lines.js";

adapt();
const library = await import("cometd");

const host = new ClientHost({
    faye: emit => new FayeClient(Faye, emit),
    cometd: emit => new CometDClient(library, emit),
}, say);

say({ready: true});
await listen(command => host.perform(command));
process.exit(0);
