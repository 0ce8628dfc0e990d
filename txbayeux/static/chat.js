// A chat on Faye's client. Everything it knows of the service is the mount in its script tag.
'use strict';

(() => {
  const CHANNEL = '/chat/demo';
  const KEPT = 200;
  // Faye's order of preference. Its handshake goes over one of the polling transports.
  const TRANSPORTS = [
    ['websocket'],
    ['eventsource'],
    ['long-polling', 'cross-origin-long-polling'],
    ['callback-polling'],
  ];

  const page = document.documentElement;
  const query = new URLSearchParams(location.search);
  const $ = (id) => document.getElementById(id);
  const tab = crypto.getRandomValues(new Uint32Array(2)).join('-');

  function endpoint(mount) {
    // Filled in by the service; a plain file server leaves the placeholder.
    const url = new URL(query.get('url') || (mount.startsWith('/') ? mount : '/bayeux'), location.href);
    // On another origin Faye's client loads scripts (JSON-P), so a link must not be able to name
    // a foreign host: another port of this host is enough to show a cross-origin client.
    if (url.protocol !== location.protocol || url.hostname !== location.hostname || url.username) {
      throw new Error(`url must begin with ${location.protocol}//${location.hostname}`);
    }
    return url.origin === location.origin ? url.pathname : url.origin + url.pathname;
  }

  function skipped(wanted) {
    const index = TRANSPORTS.findIndex(([name]) => name === wanted);
    if (wanted && index < 0) throw new Error(`There is no transport named ${wanted}`);
    return TRANSPORTS.slice(0, Math.max(index, 0)).flat();
  }

  function show(state) {
    page.dataset.state = state;
    $('state').textContent = state;
  }

  function showTransport(name) {
    if (!name || name === page.dataset.transport) return;
    page.dataset.transport = name;
    $('transport').textContent = name;
    $('transport').hidden = false;
  }

  function showProblem(text) {
    $('problem').textContent = text;
    $('problem').hidden = !text;
  }

  function showMessage({ name, text, tab: from }) {
    if (typeof name !== 'string' || typeof text !== 'string') return;
    const log = $('log');
    const follow = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const item = document.createElement('li');
    const who = document.createElement('small');
    const time = new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    who.textContent = `${name} · ${time}`;
    item.className = from === tab ? 'mine' : '';
    item.append(who, text);
    log.append(item);
    while (log.children.length > KEPT) log.firstChild.remove();
    if (follow) log.scrollTop = log.scrollHeight;
  }

  // Replies tell the state more exactly than Faye's own events do.
  const observer = {
    incoming(message, callback) {
      const { channel, successful, error, advice = {} } = message;
      if (successful !== false) {
        show('connected');
        showProblem('');
      } else if (channel === '/meta/handshake' || channel === '/meta/connect') {
        const failed = channel === '/meta/handshake' ? 'refused' : 'reconnecting';
        show(advice.reconnect === 'none' ? 'stopped' : failed);
        showProblem(error || '');
      }
      callback(message);
    },
  };

  function explain(url) {
    $('endpoint').textContent = url;
    $('script').textContent = [
      `const client = new Faye.Client('${url}');`,
      `client.subscribe('${CHANNEL}', ({ name, text }) => show(name, text));`,
      `client.publish('${CHANNEL}', { name: 'page', text: 'hello' });`,
    ].join('\n');
    $('curl').textContent = [
      `curl ${new URL(url, location.href)} -H 'Content-Type: application/json' \\`,
      `  -d '{"channel": "${CHANNEL}", "data": {"name": "curl", "text": "hello"}}'`,
    ].join('\n');
  }

  function start() {
    const url = endpoint(document.querySelector('script[data-mount]').dataset.mount);
    const client = new Faye.Client(url, { retry: 2 });
    for (const name of skipped(query.get('transport'))) client.disable(name);
    client.addExtension(observer);
    client.on('transport:down', () => show('reconnecting'));
    // Faye says nowhere in public when it changes its transport.
    setInterval(() => showTransport(client._dispatcher.connectionType), 250);
    explain(url);

    client.subscribe(CHANNEL, (data) => showMessage(Object(data)))
      .then(null, (error) => showProblem(`Not subscribed: ${error.message}`));

    $('compose').addEventListener('submit', (event) => {
      event.preventDefault();
      const message = { name: $('name').value, text: $('text').value, tab };
      $('text').value = '';
      $('text').focus();
      client.publish(CHANNEL, message)
        .then(null, (error) => showProblem(`Not sent: ${error.message}`));
    });
  }

  $('name').value = sessionStorage.getItem('name') || `Guest ${100 + Math.floor(Math.random() * 900)}`;
  $('name').addEventListener('change', () => sessionStorage.setItem('name', $('name').value));
  $('wanted').value = query.get('transport') || '';
  $('wanted').addEventListener('change', () => {
    query.delete('transport');
    if ($('wanted').value) query.set('transport', $('wanted').value);
    location.search = query;
  });

  try {
    start();
  } catch (error) {
    show('stopped');
    showProblem(error.message);
  }
})();
