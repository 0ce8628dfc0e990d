/* The client's side of the Bayeux protocol. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "load.h"

static Buffer text;

static void begin(Client* client, const char* channel) {
  const char* id = client->session_of ? client->session_of->id : client->id;
  text.length = 0;
  append_text(&text, "[{\"channel\":\"%s\",\"id\":\"%ld\"", channel, next_message_number());
  if (*id) append_text(&text, ",\"clientId\":\"%s\"", id);
}

static void finish(Client* client) {
  append(&text, "}]", 2);
  send_message(&client->connection, text.bytes, text.length);
}

static void send_handshake(Client* client) {
  client->state = HANDSHAKING;
  begin(client, "/meta/handshake");
  append_text(&text,
              ",\"version\":\"1.0\",\"minimumVersion\":\"1.0\","
              "\"supportedConnectionTypes\":[\"websocket\",\"long-polling\"]");
  finish(client);
}

static void send_subscribe(Client* client) {
  client->state = SUBSCRIBING;
  begin(client, "/meta/subscribe");
  append_text(&text, ",\"subscription\":[");
  for (int i = 0; i < options.subscriptions; i++) {
    int channel =
        (client->number + i * (options.channels / options.subscriptions)) % options.channels;
    append_text(&text, "%s\"/%s/%d\"", i ? "," : "", options.prefix, channel);
    if (!client->rejoins) subscribers_of[channel]++;
  }
  for (int i = 0; i < options.unrelated; i++)
    append_text(&text, ",\"/%s/unrelated/%d/%d\"", options.prefix, client->number, i);
  append(&text, "]", 1);
  finish(client);
}

static void send_connect(Client* client) {
  client->open_connects++;
  begin(client, "/meta/connect");
  append_text(&text, ",\"connectionType\":\"%s\"",
              client->connection.is_websocket ? "websocket" : "long-polling");
  finish(client);
}

/* The connection of a polling session is busy with its held connect; disconnect on a new one. */
static void send_disconnect(Client* client) {
  if (!client->connection.is_websocket) {
    close_connection(&client->connection);
    open_connection(&client->connection);
  }
  begin(client, "/meta/disconnect");
  finish(client);
}

static void send_publish(Client* client, int channel) {
  const char* id = client->session_of ? client->session_of->id : client->id;
  text.length = 0;
  for (int i = 0; i < options.batch; i++) {
    append_text(&text, "%c{\"channel\":\"/%s/%d\",\"clientId\":\"%s\",\"id\":\"%ld\",\"data\":",
                i ? ',' : '[', options.prefix, channel, id, next_message_number());
    append_data(&text);
    append(&text, "}", 1);
  }
  append(&text, "]", 1);
  send_message(&client->connection, text.bytes, text.length);
}

static int store_session(Client* client, char* json, size_t length) {
  char* id = memmem(json, length, "\"clientId\":\"", 12);
  if (!id) return 0;
  id += 12;
  size_t n = strcspn(id, "\"");
  if (n >= sizeof client->id) return 0;
  memcpy(client->id, id, n);
  client->id[n] = 0;
  return 1;
}

static void on_json(Client* client, char* json, size_t length) {
  if (client->state == CLOSING) {
    if (memmem(json, length, "/meta/disconnect", 16)) {
      client->state = DEAD;
      totals.closing--;
      close_connection(&client->connection);
    }
    return;
  }
  if (memmem(json, length, "\"successful\":false", 18)) {
    /* If the session is gone, the server closes the connection, too. */
    if (!options.rejoin || !memmem(json, length, "\"reconnect\":\"handshake\"", 23))
      on_refused(client, json);
    return;
  }
  if (client->state == HANDSHAKING && store_session(client, json, length)) {
    if (client->subscribes) {
      send_subscribe(client);
    } else {
      on_ready(client);
      if (client->connection.is_websocket) send_connect(client);
    }
  } else if (client->state == SUBSCRIBING && memmem(json, length, "/meta/subscribe", 15)) {
    on_ready(client);
    send_connect(client);
  }
  if (memmem(json, length, "/meta/connect", 13) && --client->open_connects <= 0) {
    client->open_connects = 0;
    send_connect(client);
  }
}

const Protocol bayeux = {.name = "bayeux",
                         .path = "/bayeux",
                         .greet = send_handshake,
                         .publish = send_publish,
                         .leave = send_disconnect,
                         .on_message = on_json};
