/** Faye's and CometD's JavaScript clients in Node, driven by JSON lines. */
import Faye from "faye";
import {adapt} from "cometd-nodejs-client";

import {CometDActor} from "./actors/cometd.js";
import {FayeActor} from "./actors/faye.js";
import {Stage} from "./actors/stage.js";
import {listen, say} from "./lines.js";

adapt();
const library = await import("cometd");

const stage = new Stage({
    faye: emit => new FayeActor(Faye, emit),
    cometd: emit => new CometDActor(library, emit),
}, say);

say({ready: true});
await listen(command => stage.perform(command));
process.exit(0);
