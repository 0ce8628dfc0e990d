/**
 * Faye's and CometD's JavaScript clients in Chromium, driven by JSON lines.
 *
 *     node browser.js CHROMIUM PORT
 *
 * Each client has a tab of its own. `open` names the page that the tab shows: one of the server
 * under test, or the one that this program serves on PORT together with the scripts, by any name
 * of this machine: Chromium finds it at localhost, 127.0.0.1 and stranger.localhost.
 */
import {readFile} from "node:fs/promises";
import {createServer} from "node:http";
import {chromium} from "playwright-core";

import {listen, say} from "./lines.js";

const [executablePath, port] = process.argv.slice(2);
const SCRIPTS = `http://localhost:${port}`;
const FOLDERS = [["/faye/", "node_modules/faye/client/"], ["/cometd/", "node_modules/cometd/"],
    ["/clients/", "clients/"]];

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
await new Promise(resolve => server.listen(Number(port), "127.0.0.1", resolve));

const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const context = await browser.newContext({bypassCSP: true});
const tabs = new Map();
// Making a tab and loading the scripts takes longer than most scenarios. A client that was closed
// may still send a last request or two, so `requests` is for an client that asked for a fresh one.
const idle = new Map();

async function makeTab(command) {
    const page = await context.newPage();
    const tab = {page, requests: []};
    page.on("request", request => {
        tab.requests.push({kind: request.resourceType(), url: request.url()});
    });
    page.on("websocket", socket => socket.once("framesent", () => {
        tab.requests.push({kind: "websocket", url: socket.url()});
    }));
    page.on("console", message => console.error(`console: ${message.text()}`));
    page.on("pageerror", error => console.error(error.stack));
    await page.goto(command.page);
    await page.exposeFunction("interopEmit", say);
    await page.addScriptTag({url: `${SCRIPTS}/faye/faye-browser-min.js`});
    await page.evaluate(async scripts => {
        const {ClientHost} = await import(`${scripts}/clients/host.js`);
        const {FayeClient} = await import(`${scripts}/clients/faye.js`);
        const {CometDClient} = await import(`${scripts}/clients/cometd.js`);
        const library = await import(`${scripts}/cometd/cometd.js`);
        window.interopHost = new ClientHost({
            faye: emit => new FayeClient(window.Faye, emit),
            cometd: emit => new CometDClient(library, emit),
        }, window.interopEmit);
    }, SCRIPTS);
    return tab;
}

function idleTabs(command) {
    if (!idle.has(command.page)) {
        idle.set(command.page, []);
    }
    return idle.get(command.page);
}

async function perform(command) {
    if (command.do === "open") {
        const tab = command.fresh
            ? await makeTab(command)
            : idleTabs(command).pop() ?? await makeTab(command);
        tab.home = idleTabs(command);
        tab.requests.length = 0;
        tabs.set(command.client, tab);
    }
    const tab = tabs.get(command.client);
    if (command.do === "requests") {
        return tab.requests;
    }
    const result = await tab.page.evaluate(c => window.interopHost.perform(c), command);
    if (command.do === "close") {
        tabs.delete(command.client);
        tab.home.push(tab);
    }
    return result;
}

say({ready: true});
await listen(perform);
await browser.close();
process.exit(0);
