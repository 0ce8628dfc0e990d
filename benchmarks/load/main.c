/* Load generator for a Bayeux server on 127.0.0.1, over WebSocket or long-polling, and for
 * Centrifugo and Socket.IO over WebSocket.
 *
 * Sessions subscribe, publishers publish messages with a timestamp, and every delivery is counted.
 * Either a constant number of messages is kept in flight (a message is in flight until all its
 * subscribers have received it), or batches are published at a constant rate. Prints one JSON
 * object; its CPU time and memory are those of the server's processes, not of this program. The
 * exit status is 1 if a delivery is missing or duplicated, 2 if nothing could be measured. */
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "load.h"

static Client* clients;
static int client_count;
static struct Ports {
  int ports[8], count;
} subscriber_ports, publisher_ports;

static double since(uint64_t start) { return (now_ns() - start) / 1e9; }

static void wait_seconds(double seconds) {
  uint64_t start = now_ns();
  while (since(start) < seconds) poll_connections(10);
}

/* Polls until `*counter` equals `*goal`; returns 0 if it does not change for `stall_timeout`. */
static int wait_until_equal(const long* counter, const long* goal) {
  uint64_t progress = now_ns();
  long last = *counter;
  while (*counter < *goal) {
    poll_connections(20);
    if (*counter != last) {
      last = *counter;
      progress = now_ns();
    }
    if (since(progress) > options.stall_timeout) return 0;
  }
  return 1;
}

static void start_sessions(void) {
  uint64_t progress = now_ns();
  int last = 0, started = 0;
  while (totals.ready + totals.dead < client_count) {
    while (started < client_count && started - totals.ready - totals.dead < options.opening)
      start_client(&clients[started++]);
    poll_connections(10);
    if (totals.ready != last) {
      last = totals.ready;
      progress = now_ns();
    }
    if (since(progress) > options.stall_timeout) break;
  }
}

/* Publishes a batch. If channels are a multiple of publishers, each has channels of its own: those
 * whose number is congruent to the publisher's. */
static int publish_next(void) {
  static int turn, channel;
  int publisher = turn++ % options.publishers, choices = options.channels / options.publishers;
  Client* client = &clients[client_count - options.publishers + publisher];
  if (options.rate <= 0) return publish_batch(client, channel++ % options.channels);
  int chosen =
      choices > 0 ? publisher + rand() % choices * options.publishers : rand() % options.channels;
  return publish_batch(client, chosen);
}

/* Publishes for the given time, then waits for the last delivery; returns 0 if it stalls. */
static int publish_for(double seconds) {
  uint64_t start = now_ns(), progress = start;
  long batches = 0, last = totals.delivered, fan_out = 0;
  for (int i = 0; i < options.channels; i++) fan_out += subscribers_of[i];
  double deliveries_each = (double)fan_out / options.channels;
  while (since(start) < seconds) {
    if (options.rate > 0) {
      while (batches < since(start) * options.rate) {
        publish_next();
        batches++;
      }
      poll_connections(1);
    } else {
      while (totals.expected - totals.delivered < options.window * deliveries_each)
        if (!publish_next()) return 0;
      poll_connections(20);
    }
    if (totals.delivered != last) {
      last = totals.delivered;
      progress = now_ns();
    }
    if (since(progress) > options.stall_timeout) return 0;
  }
  return wait_until_equal(&totals.delivered, &totals.expected);
}

/* Starts again those whose connection was lost, `options.opening` at a time. */
static void start_lost_sessions(void) {
  int starting = 0;
  for (int i = 0; i < client_count; i++)
    starting += clients[i].state != READY && clients[i].state != LOST;
  for (int i = 0; i < client_count && starting < options.opening; i++)
    if (clients[i].state == LOST) {
      start_client(&clients[i]);
      starting++;
    }
}

/* Prints "up", then polls until standard input has a line or is closed; prints "up" again each
 * time that all sessions have joined again. */
static void hold_until_input(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  for (int up = 0; !poll(&input, 1, 0); poll_connections(10)) {
    int complete = totals.ready == client_count;
    if (complete && !up) {
      puts("up");
      fflush(stdout);
    }
    up = complete;
    if (!complete) start_lost_sessions();
  }
}

/* Disconnects all sessions, at most `options.closing` at a time. */
static void disconnect_all(void) {
  uint64_t start = now_ns();
  for (int i = 0; since(start) < options.stall_timeout && (totals.closing || i < client_count);) {
    while (i < client_count && totals.closing < options.closing) disconnect_client(&clients[i++]);
    if (totals.closing) poll_connections(10);
  }
}

/* Reads the ports of the nodes of one service; clients are spread over them. */
static void read_ports(struct Ports* known, const char* list) {
  char copy[128];
  snprintf(copy, sizeof copy, "%s", list);
  known->count = 0;
  for (char* port = strtok(copy, ","); port && known->count < 8; port = strtok(NULL, ","))
    known->ports[known->count++] = atoi(port);
}

static int nth_port(const struct Ports* known, int n) { return known->ports[n % known->count]; }

static int read_protocol(const char* name) {
  static const Protocol* const known[] = {&bayeux, &centrifugo, &socketio};
  for (int i = 0; i < 3; i++)
    if (!strcmp(name, known[i]->name)) options.protocol = known[i];
  path = options.protocol->path;
  return !strcmp(name, options.protocol->name);
}

static int read_options(int argc, char** argv) {
  static struct option known[] = {{"port", 1, 0, 'A'},
                                  {"subscriber-port", 1, 0, 'S'},
                                  {"publisher-port", 1, 0, 'p'},
                                  {"protocol", 1, 0, 'R'},
                                  {"pids", 1, 0, 'i'},
                                  {"clients", 1, 0, 'n'},
                                  {"channels", 1, 0, 'c'},
                                  {"subscriptions", 1, 0, 's'},
                                  {"unrelated", 1, 0, 'u'},
                                  {"publishers", 1, 0, 'k'},
                                  {"self-publish", 0, 0, 'o'},
                                  {"batch", 1, 0, 'b'},
                                  {"payload", 1, 0, 'l'},
                                  {"window", 1, 0, 'w'},
                                  {"transport", 1, 0, 't'},
                                  {"warm-up", 1, 0, 'W'},
                                  {"seconds", 1, 0, 'd'},
                                  {"rate", 1, 0, 'r'},
                                  {"idle", 1, 0, 'I'},
                                  {"stall-timeout", 1, 0, 'P'},
                                  {"prefix", 1, 0, 'x'},
                                  {"opening", 1, 0, 'T'},
                                  {"closing", 1, 0, 'L'},
                                  {"hold", 0, 0, 'a'},
                                  {"keep-open", 0, 0, 'y'},
                                  {"rejoin", 0, 0, 'j'},
                                  {"verbose", 0, 0, 'v'},
                                  {0, 0, 0, 0}};
  int option;
  while ((option = getopt_long(argc, argv, "", known, 0)) != -1) switch (option) {
      case 'A':
        read_ports(&subscriber_ports, optarg);
        read_ports(&publisher_ports, optarg);
        break;
      case 'S': read_ports(&subscriber_ports, optarg); break;
      case 'p': read_ports(&publisher_ports, optarg); break;
      case 'R':
        if (!read_protocol(optarg)) return 0;
        break;
      case 'i': track_processes(optarg); break;
      case 'n': options.clients = atoi(optarg); break;
      case 'c': options.channels = atoi(optarg); break;
      case 's': options.subscriptions = atoi(optarg); break;
      case 'u': options.unrelated = atoi(optarg); break;
      case 'k': options.publishers = atoi(optarg); break;
      case 'o': options.self_publish = 1; break;
      case 'b': options.batch = atoi(optarg); break;
      case 'l': options.payload = atoi(optarg); break;
      case 'w': options.window = atoi(optarg); break;
      case 't': options.websocket = options.publish_websocket = !strcmp(optarg, "websocket"); break;
      case 'W': options.warm_up = atof(optarg); break;
      case 'd': options.seconds = atof(optarg); break;
      case 'r': options.rate = atof(optarg); break;
      case 'I': options.idle = atof(optarg); break;
      case 'P': options.stall_timeout = atof(optarg); break;
      case 'x': options.prefix = optarg; break;
      case 'T': options.opening = atoi(optarg); break;
      case 'L': options.closing = atoi(optarg); break;
      case 'a': options.hold = 1; break;
      case 'y': options.keep_open = 1; break;
      case 'j': options.rejoin = 1; break;
      case 'v': options.verbose = 1; break;
      default: return 0;
    }
  return subscriber_ports.count && publisher_ports.count && options.publishers >= 0 &&
         options.channels >= options.subscriptions;
}

/* Lets the subscribers publish: over WebSocket on their connection, otherwise on a second one. */
static void add_publishers(void) {
  if (!options.self_publish || options.websocket) return;
  for (int i = 0; i < options.publishers; i++) {
    Client* client = &clients[client_count];
    client->number = client_count++;
    client->connection.port = nth_port(&publisher_ports, i);
    client->session_of = &clients[i];
    open_publisher_connection(client);
  }
}

static void create_clients(void) {
  if (options.self_publish) options.publishers = options.clients;
  client_count = options.clients + (options.self_publish ? 0 : options.publishers);
  clients = calloc(options.clients + options.publishers, sizeof *clients);
  subscribers_of = calloc(options.channels, sizeof *subscribers_of);
  for (int i = 0; i < client_count; i++) {
    clients[i].number = i;
    clients[i].subscribes = i < options.clients;
    clients[i].connection.port = clients[i].subscribes
                                     ? nth_port(&subscriber_ports, i)
                                     : nth_port(&publisher_ports, i - options.clients);
    clients[i].connection.is_websocket = options.websocket;
  }
}

static struct {
  int ok, sessions, dead;
  double set_up_seconds, set_up_us, session_kib, idle_us;
  double seconds, cpu_us, processes_us[MAX_PROCESSES];
  long published, delivered;
} measured;

/* Returns 0 if not all sessions could be established. */
static int measure_sessions(void) {
  double cpu = server_cpu_seconds(), memory = server_memory_kib();
  uint64_t start = now_ns();
  start_sessions();
  measured.sessions = totals.ready;
  measured.set_up_seconds = since(start);
  measured.set_up_us = (server_cpu_seconds() - cpu) / measured.sessions * 1e6;
  if (measured.sessions < client_count) {
    fprintf(stderr, "only %d of %d sessions connected\n", measured.sessions, client_count);
    return 0;
  }
  add_publishers();
  wait_seconds(0.2);
  measured.session_kib = (server_memory_kib() - memory) / measured.sessions;
  cpu = server_cpu_seconds();
  if (options.idle > 0) {
    wait_seconds(options.idle);
    measured.idle_us = (server_cpu_seconds() - cpu) / options.idle / measured.sessions * 1e6;
  }
  return 1;
}

/* Returns 0 if a delivery is missing. */
static int measure_messages(void) {
  double before[MAX_PROCESSES];
  if (options.warm_up > 0 && !publish_for(options.warm_up)) return 0;
  totals.measuring = 1;
  measured.delivered = -totals.delivered;
  measured.published = -totals.published;
  for (int i = 0; i < tracked_processes(); i++) before[i] = cpu_seconds_of(i);
  uint64_t start = now_ns();
  int complete = publish_for(options.seconds);
  measured.seconds = since(start);
  for (int i = 0; i < tracked_processes(); i++) {
    measured.processes_us[i] = (cpu_seconds_of(i) - before[i]) * 1e6;
    measured.cpu_us += measured.processes_us[i];
  }
  measured.delivered += totals.delivered;
  measured.published += totals.published;
  totals.measuring = 0;
  wait_seconds(0.1); /* until duplicate deliveries have arrived */
  return complete;
}

static double per(double sum, double count) { return count > 0 ? sum / count : 0; }

static void print_figures(void) {
  printf("{\"ok\": %s, \"expected\": %ld, \"delivered\": %ld, \"refused\": %ld, \"dead\": %d, ",
         measured.ok ? "true" : "false", totals.expected, totals.delivered, totals.refused,
         measured.dead);
  printf("\"sessions\": %d, \"set_up_seconds\": %.4f, \"set_up_us\": %.2f, ", measured.sessions,
         measured.set_up_seconds, measured.set_up_us);
  printf("\"session_kib\": %.3f, \"idle_us\": %.3f, ", measured.session_kib, measured.idle_us);
  printf("\"seconds\": %.4f, \"published\": %ld, \"deliveries\": %ld, ", measured.seconds,
         measured.published, measured.delivered);
  printf("\"deliveries_per_second\": %.0f, \"delivery_us\": %.4f, \"publish_us\": %.4f, ",
         per(measured.delivered, measured.seconds), per(measured.cpu_us, measured.delivered),
         per(measured.cpu_us, measured.published));
  printf("\"processes_us\": [");
  for (int i = 0; i < tracked_processes(); i++)
    printf("%s%.4f", i ? ", " : "", per(measured.processes_us[i], measured.published));
  printf("], \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n", latency_ms(0.5),
         latency_ms(0.99), latency_ms(1));
}

int main(int argc, char** argv) {
  struct rlimit files;
  if (!read_options(argc, argv)) {
    fprintf(
        stderr,
        "usage: load --port PORT[,PORT] [--transport long-polling] [--clients N] [--pids PID,..]"
        " ...\n");
    return 2;
  }
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  create_poller();
  srand(1);
  create_clients();
  if (!measure_sessions()) return 2;
  measured.ok = options.seconds <= 0 || measure_messages();
  measured.ok &= !totals.dead && !totals.refused && totals.delivered == totals.expected;
  measured.dead = totals.dead;
  if (options.hold) hold_until_input();
  if (!options.keep_open) disconnect_all();
  print_figures();
  return measured.ok ? 0 : 1;
}
