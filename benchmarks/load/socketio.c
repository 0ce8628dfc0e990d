/* The client's side of Socket.IO 4 over WebSocket, and of the events of peers/socketio/server.js.
 * Packets are named by digits: 0 open, 2 ping, 3 pong; 40 connect, 42 event, 43 reply, 44 error. */
#include <string.h>

#include "load.h"

static Buffer text;

static void finish(Client* client) { send_message(&client->connection, text.bytes, text.length); }

static void await_open(Client* client) { client->state = HANDSHAKING; }

static void send_subscribe(Client* client) {
  int channel = client->number % options.channels;
  client->state = SUBSCRIBING;
  subscribers_of[channel]++;
  text.length = 0;
  append_text(&text, "42%ld[\"subscribe\",\"%s_%d\"]", next_message_number(), options.prefix,
              channel);
  finish(client);
}

static void send_publish(Client* client, int channel) {
  text.length = 0;
  append_text(&text, "42%ld[\"publish\",\"%s_%d\",", next_message_number(), options.prefix,
              channel);
  append_data(&text);
  append(&text, "]", 1);
  finish(client);
}

static void leave(Client* client) {
  send_message(&client->connection, "41", 2);
  send_close(&client->connection);
}

static void on_packet(Client* client, char* packet, size_t length) {
  (void)length;
  if (client->state == CLOSING) return;
  if (!strcmp(packet, "2")) {
    send_message(&client->connection, "3", 1);
  } else if (!strncmp(packet, "44", 2)) {
    on_refused(client, packet);
  } else if (client->state == HANDSHAKING && *packet == '0') {
    send_message(&client->connection, "40", 2);
  } else if (client->state == HANDSHAKING && !strncmp(packet, "40", 2)) {
    if (client->subscribes)
      send_subscribe(client);
    else
      on_ready(client);
  } else if (client->state == SUBSCRIBING && !strncmp(packet, "43", 2)) {
    on_ready(client);
  }
}

const Protocol socketio = {.name = "socketio",
                           .path = "/socket.io/?EIO=4&transport=websocket",
                           .greet = await_open,
                           .publish = send_publish,
                           .leave = leave,
                           .on_message = on_packet};
