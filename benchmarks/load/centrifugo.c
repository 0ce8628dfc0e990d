/* The client's side of Centrifugo's JSON protocol over WebSocket; a frame may hold many replies. */
#define _GNU_SOURCE
#include <string.h>

#include "load.h"

static Buffer text;

static void begin(void) {
  text.length = 0;
  append_text(&text, "{\"id\":%ld,", next_message_number());
}

static void finish(Client* client) {
  append(&text, "}", 1);
  send_message(&client->connection, text.bytes, text.length);
}

static void send_connect(Client* client) {
  client->state = HANDSHAKING;
  begin();
  append_text(&text, "\"connect\":{}");
  finish(client);
}

static void send_subscribe(Client* client) {
  int channel = client->number % options.channels;
  client->state = SUBSCRIBING;
  subscribers_of[channel]++;
  begin();
  append_text(&text, "\"subscribe\":{\"channel\":\"%s_%d\"}", options.prefix, channel);
  finish(client);
}

static void send_publish(Client* client, int channel) {
  begin();
  append_text(&text, "\"publish\":{\"channel\":\"%s_%d\",\"data\":", options.prefix, channel);
  append_data(&text);
  append(&text, "}", 1);
  finish(client);
}

static void leave(Client* client) { send_close(&client->connection); }

static void on_replies(Client* client, char* json, size_t length) {
  if (client->state == CLOSING) return;
  /* An empty reply is a ping. */
  if (!strncmp(json, "{}", 2) || strstr(json, "\n{}")) send_message(&client->connection, "{}", 2);
  if (memmem(json, length, "\"error\":", 8) || memmem(json, length, "\"disconnect\":", 13)) {
    on_refused(client, json);
  } else if (client->state == HANDSHAKING && memmem(json, length, "\"connect\":", 10)) {
    if (client->subscribes)
      send_subscribe(client);
    else
      on_ready(client);
  } else if (client->state == SUBSCRIBING && memmem(json, length, "\"subscribe\":", 12)) {
    on_ready(client);
  }
}

const Protocol centrifugo = {.name = "centrifugo",
                             .path = "/connection/websocket",
                             .greet = send_connect,
                             .publish = send_publish,
                             .leave = leave,
                             .on_message = on_replies};
