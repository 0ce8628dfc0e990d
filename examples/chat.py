"""A chat: python examples/chat.py, then open http://localhost:8000/ in two tabs."""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.task import react
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
    bayeux = Bayeux(reactor)
    root = Resource()
    root.putChild(b"", Data(PAGE, "text/html"))
    await bayeux.start()
    reactor.addSystemEventTrigger("before", "shutdown", bayeux.stop)
    endpoint = serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
    try:
        await endpoint.listen(bayeux.site(root))
    except CannotListenError as error:
        sys.exit(str(error))
    print(f"Open http://localhost:{port}/ (Ctrl-C stops the server)")
    await Deferred()  # never fires: serve until then


if __name__ == "__main__":
    react(main, sys.argv[1:])
