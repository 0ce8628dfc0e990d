/* Bayeux as a client speaks it. */
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
                   .together = 64,
                   .leaving = 64,
                   .websocket = 1,
                   .publish_websocket = 1,
                   .warm_up = 0.3,
                   .seconds = 1,
                   .patience = 5,
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
  send_message(&client->wire, text.bytes, text.length);
}

static void shake_hands(Client* client) {
  client->state = HANDSHAKING;
  begin(client, "/meta/handshake");
  append_text(&text,
              ",\"version\":\"1.0\",\"minimumVersion\":\"1.0\","
              "\"supportedConnectionTypes\":[\"websocket\",\"long-polling\"]");
  finish(client);
}

static void subscribe(Client* client) {
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

static void connect_again(Client* client) {
  client->open_connects++;
  begin(client, "/meta/connect");
  append_text(&text, ",\"connectionType\":\"%s\"",
              client->wire.is_websocket ? "websocket" : "long-polling");
  finish(client);
}

void start_client(Client* client) {
  client->wire.owner = client;
  dial(&client->wire);
  if (!client->wire.is_websocket) shake_hands(client);
}

void join_session(Client* client) {
  client->wire.owner = client;
  memcpy(client->wire.cookies, client->session_of->wire.cookies, sizeof client->wire.cookies);
  dial(&client->wire);
  client->state = READY;
}

/* A polling session's own connection waits for its connect: it leaves on a new one. */
void leave(Client* client) {
  if (client->state != READY || client->session_of) return;
  client->state = LEAVING;
  totals.leaving++;
  if (!client->wire.is_websocket) {
    hang_up(&client->wire);
    dial(&client->wire);
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
  send_message(&client->wire, batch.bytes, batch.length);
  return 1;
}

void on_upgraded(Wire* wire) { shake_hands(wire->owner); }

void on_hung_up(Wire* wire) {
  Client* client = wire->owner;
  if (client->state == READY) totals.ready--;
  if (client->state == LEAVING) totals.leaving--;
  if (client->state != LEAVING) totals.dead++;
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

static int keep_session(Client* client, char* json, size_t length) {
  char* id = memmem(json, length, "\"clientId\":\"", 12);
  if (!id) return 0;
  id += 12;
  size_t n = strcspn(id, "\"");
  if (n >= sizeof client->id) return 0;
  memcpy(client->id, id, n);
  client->id[n] = 0;
  return 1;
}

void on_message(Wire* wire, char* json, size_t length) {
  Client* client = wire->owner;
  if (options.verbose) fprintf(stderr, "%d: %.300s\n", client->number, json);
  if (client->state == LEAVING) {
    if (memmem(json, length, "/meta/disconnect", 16)) {
      client->state = DEAD;
      totals.leaving--;
      hang_up(wire);
    }
    return;
  }
  count_deliveries(json, length);
  if (memmem(json, length, "\"successful\":false", 18)) {
    if (totals.refused++ < 3) fprintf(stderr, "refused: %.300s\n", json);
    return;
  }
  if (client->state == HANDSHAKING && keep_session(client, json, length)) {
    if (client->subscribes) {
      subscribe(client);
    } else {
      client->state = READY;
      totals.ready++;
      if (wire->is_websocket) connect_again(client);
    }
  } else if (client->state == SUBSCRIBING && memmem(json, length, "/meta/subscribe", 15)) {
    client->state = READY;
    totals.ready++;
    connect_again(client);
  }
  if (memmem(json, length, "/meta/connect", 13) && --client->open_connects <= 0) {
    client->open_connects = 0;
    connect_again(client);
  }
}
