/** What the servers' extension refuses, the same on each of them. */
export const ERROR = "403:interop:Refused by the extension";

export function refuses({channel, subscription, ext}) {
    if (channel === "/meta/handshake") {
        return ext?.refuse === true;
    }
    const names = channel === "/meta/subscribe" ? [subscription].flat() : [channel];
    return names.some(name => String(name).startsWith("/forbidden/"));
}
