/* Declarations shared by the files of the load generator. */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* measure.c */
uint64_t now_ns(void);
void die(const char* what);
enum { MAX_PROCESSES = 16 };
void track_processes(char* pids);
int tracked_processes(void);
double cpu_seconds_of(int process);
double server_cpu_seconds(void);
double server_memory_kib(void);
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
extern const char* path; /* where the server listens for WebSockets and polls */
void create_poller(void);
void open_connection(Connection* connection);
void close_connection(Connection* connection);
void send_message(Connection* connection, const char* json, size_t length);
void send_close(Connection* connection);
/* Waits for traffic at most this long; calls the three functions below. */
void poll_connections(int milliseconds);
void on_upgraded(Connection* connection);
void on_message(Connection* connection, char* json, size_t length);
void on_closed(Connection* connection);

/* client.c: a session, or a second connection of one; the same for all protocols */
typedef enum { CONNECTING, HANDSHAKING, SUBSCRIBING, READY, CLOSING, DEAD, LOST } State;
typedef struct Client {
  Connection connection;
  State state;
  int number, subscribes;
  struct Client* session_of; /* the session that it publishes for; NULL: its own */
  char id[160];
  int open_connects, rejoins;
} Client;
typedef struct {
  const char* name;
  const char* path;
  void (*greet)(Client* client); /* called when the connection is open */
  void (*publish)(Client* client, int channel);
  void (*leave)(Client* client);
  void (*on_message)(Client* client, char* text, size_t length);
} Protocol;
typedef struct {
  int clients, channels, subscriptions, unrelated, publishers, self_publish, batch, payload, window,
      opening, closing;
  int websocket, publish_websocket, verbose, hold, keep_open, rejoin;
  double warm_up, seconds, rate, idle, stall_timeout;
  const char* prefix;
  const Protocol* protocol;
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
void disconnect_client(Client* client);
int publish_batch(Client* client, int channel);
/* For the protocols: */
long next_message_number(void);
void append_data(Buffer* message);
void on_ready(Client* client);
void on_refused(Client* client, const char* text);

/* bayeux.c, centrifugo.c, socketio.c */
extern const Protocol bayeux, centrifugo, socketio;

#endif
