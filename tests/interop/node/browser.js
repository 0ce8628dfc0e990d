/**
 * Faye's and CometD's JavaScript clients in Chromium, driven by JSON lines.
 *
 *     node browser.js CHROMIUM PORT
 *
 * Each actor has a tab of its own. `open` names the page that the tab shows: one of the server
 * under test, or http://localhost:PORT/, which this program serves together with the scripts.
 */
import {readFile} from "node:fs/promises";
import {createServer} from "node:http";
import {chromium} from "playwright-core";

import {listen, say} from "./lines.js";

const [executablePath, port] = process.argv.slice(2);
const SCRIPTS = `http://localhost:${port}`;
const FOLDERS = [["/faye/", "node_modules/faye/client/"], ["/cometd/", "node_modules/cometd/"],
    ["/actors/", "actors/"]];

const server = createServer(async (request, response) => {
    if (request.url === "/") {
        response.writeHead(200, {"Content-Type": "text/html"});
        response.end("<!doctype html><title>another origin</title>");
        return;
    }
    for (const [prefix, folder] of FOLDERS) {
        if (/^\/\w+\/[\w.-]+\.js$/.test(request.url) && request.url.startsWith(prefix)) {
            const file = new URL(folder + request.url.slice(prefix.length), import.meta.url);
            response.writeHead(200, {
                "Content-Type": "text/javascript",
                "Access-Control-Allow-Origin": "*",
            });
            response.end(await readFile(file));
            return;
        }
    }
    response.writeHead(404).end("no such script");
});
await new Promise(resolve => server.listen(Number(port), "localhost", resolve));

const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const context = await browser.newContext({bypassCSP: true});
const tabs = new Map();

async function open(command) {
    const page = await context.newPage();
    const requests = [];
    tabs.set(command.actor, {page, requests});
    page.on("request", request => {
        requests.push({kind: request.resourceType(), method: request.method(), url: request.url()});
    });
    page.on("websocket", socket => {
        requests.push({kind: "websocket", method: "GET", url: socket.url()});
    });
    page.on("console", message => console.error(`${command.actor}: ${message.text()}`));
    page.on("pageerror", error => console.error(`${command.actor}: ${error.stack}`));
    await page.goto(command.page);
    await page.exposeFunction("interopEmit", say);
    if (command.family === "faye") {
        await page.addScriptTag({url: `${SCRIPTS}/faye/faye-browser-min.js`});
    }
    await page.evaluate(async scripts => {
        const {Stage} = await import(`${scripts}/actors/stage.js`);
        const {FayeActor} = await import(`${scripts}/actors/faye.js`);
        const {CometDActor} = await import(`${scripts}/actors/cometd.js`);
        const library = await import(`${scripts}/cometd/cometd.js`);
        window.interopStage = new Stage({
            faye: emit => new FayeActor(window.Faye, emit),
            cometd: emit => new CometDActor(library, emit),
        }, window.interopEmit);
    }, SCRIPTS);
}

async function perform(command) {
    if (command.do === "open") {
        await open(command);
    }
    const {page, requests} = tabs.get(command.actor);
    if (command.do === "requests") {
        return requests;
    }
    const result = await page.evaluate(c => window.interopStage.perform(c), command);
    if (command.do === "close") {
        tabs.delete(command.actor);
        await page.close();
    }
    return result;
}

say({ready: true});
await listen(perform);
await browser.close();
process.exit(0);
