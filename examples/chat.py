"""A chat: python examples/chat.py, then open http://localhost:8000/ in two tabs."""

import sys

from twisted.internet import defer, endpoints, error, task
from twisted.web.resource import Resource
from twisted.web.static import Data

from txbayeux import Bayeux

PAGE = b"""<!doctype html><title>Chat</title>
<form><input placeholder="Say something" autofocus></form><pre></pre>
<script src="/bayeux/client.js"></script>
<script>
  const chat = new Faye.Client('/bayeux'), form = document.forms[0];
  form.onsubmit = () => {
    chat.publish('/chat', form[0].value);
    form.reset();
    return false;
  };
  chat.subscribe('/chat', (text) => document.querySelector('pre').append(text, '\\n'));
</script>"""


async def main(reactor, port="8000"):
    bayeux, root = Bayeux(reactor), Resource()
    root.putChild(b"", Data(PAGE, "text/html"))
    await bayeux.start()
    reactor.addSystemEventTrigger("before", "shutdown", bayeux.stop)
    http = endpoints.serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
    try:
        await http.listen(bayeux.site(root))
    except error.CannotListenError as reason:
        sys.exit(str(reason))
    print(f"Open http://localhost:{port}/ (Ctrl-C stops the server)")
    await defer.Deferred()  # never fires: serve until then


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
