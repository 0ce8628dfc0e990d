/* The client's side of the Bayeux protocol. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

Options options = {.clients = 100,
                   .channels = 1,
                   .subscriptions = 1,
                   .publishers = 1,
                   .batch = 1,
                   .payload = 64,
                   .window = 10,
                   .opening = 64,
                   .closing = 64,
                   .websocket = 1,
                   .publish_websocket = 1,
                   .warm_up = 0.3,
                   .seconds = 1,
                   .stall_timeout = 5,
                   .prefix = "/load"};
Totals totals;
long* subscribers_of;

static Buffer text;
static long message_number;

static void begin(Client* client, const char* channel) {
  const char* id = client->session_of ? client->session_of->id : client->id;
  text.length = 0;
  append_text(&text, "[{\"channel\":\"%s\",\"id\":\"%ld\"", channel, ++message_number);
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
    append_text(&text, "%s\"%s/%d\"", i ? "," : "", options.prefix, channel);
    subscribers_of[channel]++;
  }
  for (int i = 0; i < options.unrelated; i++)
    append_text(&text, ",\"%s/unrelated/%d/%d\"", options.prefix, client->number, i);
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

void start_client(Client* client) {
  client->connection.owner = client;
  open_connection(&client->connection);
  if (!client->connection.is_websocket) send_handshake(client);
}

void open_publisher_connection(Client* client) {
  client->connection.owner = client;
  memcpy(client->connection.cookies, client->session_of->connection.cookies,
         sizeof client->connection.cookies);
  open_connection(&client->connection);
  client->state = READY;
}

/* The connection of a polling session is busy with its held connect; disconnect on a new one. */
void send_disconnect(Client* client) {
  if (client->state != READY || client->session_of) return;
  client->state = CLOSING;
  totals.closing++;
  if (!client->connection.is_websocket) {
    close_connection(&client->connection);
    open_connection(&client->connection);
  }
  begin(client, "/meta/disconnect");
  finish(client);
}

int publish_batch(Client* client, int channel) {
  static char* filling;
  static Buffer batch;
  const char* id = client->session_of ? client->session_of->id : client->id;
  if (client->state != READY) return 0;
  if (!filling) {
    filling = malloc(options.payload + 1);
    memset(filling, 'x', options.payload);
  }
  batch.length = 0;
  for (int i = 0; i < options.batch; i++) {
    append_text(
        &batch,
        "%c{\"channel\":\"%s/%d\",\"clientId\":\"%s\",\"id\":\"%ld\",\"data\":{\"t\":%llu,\"p\":\"",
        i ? ',' : '[', options.prefix, channel, id, ++message_number, (unsigned long long)now_ns());
    append(&batch, filling, options.payload);
    append(&batch, "\"}}", 3);
  }
  append(&batch, "]", 1);
  totals.published += options.batch;
  totals.expected += subscribers_of[channel] * options.batch;
  send_message(&client->connection, batch.bytes, batch.length);
  return 1;
}

void on_upgraded(Connection* connection) { send_handshake(connection->owner); }

void on_closed(Connection* connection) {
  Client* client = connection->owner;
  if (client->state == READY) totals.ready--;
  if (client->state == CLOSING) totals.closing--;
  if (client->state != CLOSING) totals.dead++;
  client->state = DEAD;
}

static void count_deliveries(char* json, size_t length) {
  char *at = json, *end = json + length;
  uint64_t now = now_ns();
  while ((at = memmem(at, end - at, "\"t\":", 4))) {
    at += 4;
    totals.delivered++;
    if (totals.measuring) record_latency((now - strtoull(at, 0, 10)) / 1000.0);
  }
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

void on_message(Connection* connection, char* json, size_t length) {
  Client* client = connection->owner;
  if (options.verbose) fprintf(stderr, "%d: %.300s\n", client->number, json);
  if (client->state == CLOSING) {
    if (memmem(json, length, "/meta/disconnect", 16)) {
      client->state = DEAD;
      totals.closing--;
      close_connection(connection);
    }
    return;
  }
  count_deliveries(json, length);
  if (memmem(json, length, "\"successful\":false", 18)) {
    if (totals.refused++ < 3) fprintf(stderr, "refused: %.300s\n", json);
    return;
  }
  if (client->state == HANDSHAKING && store_session(client, json, length)) {
    if (client->subscribes) {
      send_subscribe(client);
    } else {
      client->state = READY;
      totals.ready++;
      if (connection->is_websocket) send_connect(client);
    }
  } else if (client->state == SUBSCRIBING && memmem(json, length, "/meta/subscribe", 15)) {
    client->state = READY;
    totals.ready++;
    send_connect(client);
  }
  if (memmem(json, length, "/meta/connect", 13) && --client->open_connects <= 0) {
    client->open_connects = 0;
    send_connect(client);
  }
}
