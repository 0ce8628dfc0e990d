/* Declarations shared by the files of the load generator. */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* measure.c */
uint64_t now_ns(void);
void die(const char* what);
double server_cpu_seconds(void);
double server_memory_kib(void);
void track_processes(char* pids);
void record_latency(double microseconds);
double latency_ms(double quantile);

/* buffer.c */
typedef struct {
  char* bytes;
  size_t length, room;
} Buffer;
void append(Buffer* buffer, const void* bytes, size_t length);
void append_text(Buffer* buffer, const char* format, ...) __attribute__((format(printf, 2, 3)));
void discard(Buffer* buffer, size_t length);

/* connection.c: HTTP and WebSocket on a non-blocking socket */
typedef struct {
  int fd, port, is_websocket, upgraded, closed;
  char cookies[512];
  Buffer in, out, message;
  void* owner;
} Connection;
extern const char* mount;
void create_poller(void);
void open_connection(Connection* connection);
void close_connection(Connection* connection);
void send_message(Connection* connection, const char* json, size_t length);
/* Waits for traffic at most this long; calls the three functions below. */
void poll_connections(int milliseconds);
void on_upgraded(Connection* connection);
void on_message(Connection* connection, char* json, size_t length);
void on_closed(Connection* connection);

/* client.c: a Bayeux session, or a second connection of one */
typedef enum { CONNECTING, HANDSHAKING, SUBSCRIBING, READY, CLOSING, DEAD } State;
typedef struct Client {
  Connection connection;
  State state;
  int number, subscribes;
  struct Client* session_of; /* the session that it publishes for; NULL: its own */
  char id[160];
  int open_connects;
} Client;
typedef struct {
  int clients, channels, subscriptions, unrelated, publishers, self_publish, batch, payload, window,
      opening, closing;
  int websocket, publish_websocket, verbose, hold, keep_open;
  double warm_up, seconds, rate, idle, stall_timeout;
  const char* prefix;
} Options;
extern Options options;
typedef struct {
  long published, expected, delivered, refused;
  int ready, closing, dead, measuring;
} Totals;
extern Totals totals;
extern long* subscribers_of; /* by channel */
void start_client(Client* client);
void open_publisher_connection(Client* client);
void send_disconnect(Client* client);
int publish_batch(Client* client, int channel);

#endif
