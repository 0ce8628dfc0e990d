/* Load generator for a Bayeux server on 127.0.0.1, over WebSocket or long-polling.
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
static int client_count, port_count;
static int ports[8];

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

static Client* next_publisher(void) {
  static int turn;
  return &clients[client_count - options.publishers + turn++ % options.publishers];
}

/* Publishes for the given time, then waits for the last delivery; returns 0 if it stalls. */
static int publish_for(double seconds) {
  uint64_t start = now_ns(), progress = start;
  long batches = 0, last = totals.delivered, fan_out = 0;
  static int channel;
  for (int i = 0; i < options.channels; i++) fan_out += subscribers_of[i];
  double deliveries_each = (double)fan_out / options.channels;
  while (since(start) < seconds) {
    if (options.rate > 0) {
      while (batches < since(start) * options.rate) {
        publish_batch(next_publisher(), rand() % options.channels);
        batches++;
      }
      poll_connections(1);
    } else {
      while (totals.expected - totals.delivered < options.window * deliveries_each)
        if (!publish_batch(next_publisher(), channel++ % options.channels)) return 0;
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

/* Prints "up", then polls until standard input has a line or is closed. */
static void hold_until_input(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  puts("up");
  fflush(stdout);
  while (!poll(&input, 1, 0)) poll_connections(10);
}

/* Sends /meta/disconnect for all sessions, at most `options.closing` at a time. */
static void disconnect_all(void) {
  uint64_t start = now_ns();
  for (int i = 0; since(start) < options.stall_timeout && (totals.closing || i < client_count);) {
    while (i < client_count && totals.closing < options.closing) send_disconnect(&clients[i++]);
    if (totals.closing) poll_connections(10);
  }
}

/* The ports of the nodes of one service; clients are spread over them. */
static void read_ports(char* list) {
  for (char* port = strtok(list, ","); port && port_count < 8; port = strtok(NULL, ","))
    ports[port_count++] = atoi(port);
}

static int read_options(int argc, char** argv) {
  static struct option known[] = {{"port", 1, 0, 'p'},
                                  {"mount", 1, 0, 'm'},
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
                                  {"seconds", 1, 0, 'S'},
                                  {"rate", 1, 0, 'r'},
                                  {"idle", 1, 0, 'I'},
                                  {"stall-timeout", 1, 0, 'P'},
                                  {"prefix", 1, 0, 'x'},
                                  {"opening", 1, 0, 'T'},
                                  {"closing", 1, 0, 'L'},
                                  {"hold", 0, 0, 'a'},
                                  {"keep-open", 0, 0, 'y'},
                                  {"verbose", 0, 0, 'v'},
                                  {0, 0, 0, 0}};
  int option;
  while ((option = getopt_long(argc, argv, "", known, 0)) != -1) switch (option) {
      case 'p': read_ports(optarg); break;
      case 'm': mount = optarg; break;
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
      case 'S': options.seconds = atof(optarg); break;
      case 'r': options.rate = atof(optarg); break;
      case 'I': options.idle = atof(optarg); break;
      case 'P': options.stall_timeout = atof(optarg); break;
      case 'x': options.prefix = optarg; break;
      case 'T': options.opening = atoi(optarg); break;
      case 'L': options.closing = atoi(optarg); break;
      case 'a': options.hold = 1; break;
      case 'y': options.keep_open = 1; break;
      case 'v': options.verbose = 1; break;
      default: return 0;
    }
  return port_count > 0 && options.publishers >= 0 && options.channels >= options.subscriptions;
}

/* Lets the subscribers publish: over WebSocket on their connection, otherwise on a second one. */
static void add_publishers(void) {
  if (!options.self_publish || options.websocket) return;
  for (int i = 0; i < options.publishers; i++) {
    Client* client = &clients[client_count];
    client->number = client_count++;
    client->connection.port = ports[client->number % port_count];
    client->session_of = &clients[i];
    open_publisher_connection(client);
  }
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
  if (options.self_publish) options.publishers = options.clients;
  client_count = options.clients + (options.self_publish ? 0 : options.publishers);
  clients = calloc(options.clients + options.publishers, sizeof *clients);
  subscribers_of = calloc(options.channels, sizeof *subscribers_of);
  for (int i = 0; i < client_count; i++) {
    clients[i].number = i;
    clients[i].subscribes = i < options.clients;
    clients[i].connection.port = ports[i % port_count];
    clients[i].connection.is_websocket = options.websocket;
  }

  double cpu = server_cpu_seconds(), memory = server_memory_kib();
  uint64_t start = now_ns();
  start_sessions();
  double set_up_seconds = since(start), set_up_cpu = server_cpu_seconds() - cpu;
  int sessions = totals.ready;
  if (sessions < client_count) {
    fprintf(stderr, "only %d of %d sessions connected\n", sessions, client_count);
    return 2;
  }
  add_publishers();
  wait_seconds(0.2);
  memory = (server_memory_kib() - memory) / sessions;
  cpu = server_cpu_seconds();
  if (options.idle > 0) wait_seconds(options.idle);
  double idle_cpu = options.idle > 0 ? (server_cpu_seconds() - cpu) / options.idle / sessions : 0;

  int ok = 1;
  double seconds = 0, delivery_cpu = 0;
  long delivered = 0, published = 0;
  if (options.seconds > 0) {
    ok = options.warm_up <= 0 || publish_for(options.warm_up);
    totals.measuring = 1;
    delivered = totals.delivered;
    published = totals.published;
    cpu = server_cpu_seconds();
    start = now_ns();
    ok = ok && publish_for(options.seconds);
    seconds = since(start);
    delivery_cpu = server_cpu_seconds() - cpu;
    delivered = totals.delivered - delivered;
    published = totals.published - published;
    totals.measuring = 0;
    wait_seconds(0.1); /* until duplicate deliveries have arrived */
  }
  ok = ok && !totals.dead && !totals.refused && totals.delivered == totals.expected;
  int dead = totals.dead;
  if (options.hold) hold_until_input();
  if (!options.keep_open) disconnect_all();
  printf(
      "{\"ok\": %s, \"expected\": %ld, \"delivered\": %ld, \"refused\": %ld, \"dead\": %d, "
      "\"sessions\": %d, "
      "\"set_up_seconds\": %.4f, \"set_up_us\": %.2f, \"session_kib\": %.3f, \"idle_us\": %.3f, "
      "\"seconds\": %.4f, \"published\": %ld, \"deliveries\": %ld, \"deliveries_per_second\": "
      "%.0f, "
      "\"delivery_us\": %.4f, \"publish_us\": %.4f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
      "\"max_ms\": %.3f}\n",
      ok ? "true" : "false", totals.expected, totals.delivered, totals.refused, dead, sessions,
      set_up_seconds, set_up_cpu / sessions * 1e6, memory, idle_cpu * 1e6, seconds, published,
      delivered, seconds > 0 ? delivered / seconds : 0,
      delivered ? delivery_cpu / delivered * 1e6 : 0,
      published ? delivery_cpu / published * 1e6 : 0, latency_ms(0.5), latency_ms(0.99),
      latency_ms(1));
  return ok ? 0 : 1;
}
