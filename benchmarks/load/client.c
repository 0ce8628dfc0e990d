/* A client of any of the protocols: it connects, subscribes, publishes, counts and disconnects. */
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
                   .prefix = "load",
                   .protocol = &bayeux};
Totals totals;
long* subscribers_of;

long next_message_number(void) {
  static long number;
  return ++number;
}

void start_client(Client* client) {
  client->connection.owner = client;
  client->state = CONNECTING;
  client->id[0] = 0;
  client->open_connects = 0;
  open_connection(&client->connection);
  if (!client->connection.is_websocket) options.protocol->greet(client);
}

void open_publisher_connection(Client* client) {
  client->connection.owner = client;
  memcpy(client->connection.cookies, client->session_of->connection.cookies,
         sizeof client->connection.cookies);
  open_connection(&client->connection);
  client->state = READY;
}

void disconnect_client(Client* client) {
  if (client->state != READY || client->session_of) return;
  client->state = CLOSING;
  totals.closing++;
  options.protocol->leave(client);
}

int publish_batch(Client* client, int channel) {
  if (client->state != READY) return 0;
  totals.published += options.batch;
  totals.expected += subscribers_of[channel] * options.batch;
  options.protocol->publish(client, channel);
  return 1;
}

/* Appends what is published: a JSON object with the time, by which deliveries are counted. */
void append_data(Buffer* message) {
  static char* filling;
  if (!filling) {
    filling = malloc(options.payload + 1);
    memset(filling, 'x', options.payload);
  }
  append_text(message, "{\"t\":%llu,\"p\":\"", (unsigned long long)now_ns());
  append(message, filling, options.payload);
  append(message, "\"}", 2);
}

void on_ready(Client* client) {
  client->state = READY;
  totals.ready++;
}

void on_refused(Client* client, const char* text) {
  if (totals.refused++ < 3) fprintf(stderr, "%d was refused: %.300s\n", client->number, text);
}

void on_upgraded(Connection* connection) { options.protocol->greet(connection->owner); }

void on_closed(Connection* connection) {
  Client* client = connection->owner;
  if (client->state == READY) totals.ready--;
  if (client->state == CLOSING) totals.closing--;
  if (client->state != CLOSING && options.rejoin) {
    client->rejoins++;
    client->state = LOST;
    return;
  }
  if (client->state != CLOSING) totals.dead++;
  client->state = DEAD;
}

static void count_deliveries(char* text, size_t length) {
  char *at = text, *end = text + length;
  uint64_t now = now_ns();
  while ((at = memmem(at, end - at, "\"t\":", 4))) {
    at += 4;
    totals.delivered++;
    if (totals.measuring) record_latency((now - strtoull(at, 0, 10)) / 1000.0);
  }
}

void on_message(Connection* connection, char* text, size_t length) {
  Client* client = connection->owner;
  if (options.verbose) fprintf(stderr, "%d: %.300s\n", client->number, text);
  if (client->state != CLOSING) count_deliveries(text, length);
  options.protocol->on_message(client, text, length);
}
