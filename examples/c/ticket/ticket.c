/* A ticket service without an SDK: the contract in wit/ by hand, as the canonical ABI lays it out in memory.
 *
 * Nothing here is about snapshots: the server images the memory. Every list and string that the host hands over is
 * allocated by `cabi_realloc` and belongs to the guest from then on. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define HANDLER "uhaha:machine/handler@0.1.0#"
#define POST "cabi_post_"

/* A list or a string. */
struct slice {
  const void *at;
  size_t count;
};
#define TEXT(text) {text, sizeof(text) - 1}

enum kind { WRITE, READ };

struct command_spec {
  struct slice name;
  uint8_t kind;
  /* As in Redis, counting the name: n is exactly n, -n at least n. */
  int32_t arity;
  struct slice summary;
  struct slice group;
  struct slice arguments;
};

struct description {
  struct slice name;
  struct slice version;
  struct slice commands;
  uint32_t state_version;
};

/* Those of the twelve cases that it needs. */
enum token_case { INTEGER = 2, ARRAY = 9 };

struct token {
  uint8_t token_case;
  union {
    int64_t integer;
    uint32_t count;
  };
};

/* result<list<token>, string> */
struct reply {
  uint8_t is_error;
  struct slice value;
};

_Static_assert(sizeof(struct command_spec) == 40, "as WIT lays it out");
_Static_assert(sizeof(struct description) == 28, "as WIT lays it out");
_Static_assert(sizeof(struct token) == 16, "as WIT lays it out");
_Static_assert(sizeof(struct reply) == 12, "as WIT lays it out");

enum command { TICKET, LAST };

static const struct command_spec commands[] = {
    {TEXT("TICKET"), WRITE, 1, TEXT("Returns a new ticket, greater than every ticket before"), {0}, {0}},
    {TEXT("LAST"), READ, -1, TEXT("LAST [count]: returns the last tickets, the newest first"), {0}, {0}},
};

static const struct description description = {
    TEXT("ticket-c"), TEXT("0.1.0"), {commands, sizeof(commands) / sizeof(commands[0])}, 0};

EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_bytes, size_t align, size_t bytes) {
  (void)old_bytes;
  /* What has no bytes needs an address that is aligned, and nothing to free. */
  if (bytes == 0) return (void *)align;
  void *at = realloc(old, bytes);
  if (at == NULL) abort();
  return at;
}

static void give_back(struct slice slice) {
  if (slice.count > 0) free((void *)slice.at);
}

EXPORT(HANDLER "describe")
const struct description *describe(void) { return &description; }

/* The whole state. */
static int64_t last;

static struct reply error(const char *message, size_t bytes) { return (struct reply){true, {message, bytes}}; }

static struct reply ok(struct token *tokens, size_t count) { return (struct reply){false, {tokens, count}}; }

static struct token *allocate(size_t tokens) { return cabi_realloc(NULL, 0, 8, tokens * sizeof(struct token)); }

static struct reply ticket(void) {
  struct token *token = allocate(1);
  *token = (struct token){INTEGER, {.integer = ++last}};
  return ok(token, 1);
}

static struct reply last_tickets(const struct slice *args, size_t argc) {
  static const char not_a_count[] = "expected a number from 1 to 1000";
  uint32_t count = 1;
  if (argc > 0) {
    const char *digits = args[0].at;
    count = 0;
    for (size_t i = 0; i < args[0].count && count <= 1000; i++) {
      if (digits[i] < '0' || digits[i] > '9') return error(not_a_count, sizeof(not_a_count) - 1);
      count = 10 * count + (uint32_t)(digits[i] - '0');
    }
    if (count < 1 || count > 1000) return error(not_a_count, sizeof(not_a_count) - 1);
  }
  if (count > last) count = (uint32_t)last;
  struct token *tokens = allocate(1 + count);
  tokens[0] = (struct token){ARRAY, {.count = count}};
  for (uint32_t i = 0; i < count; i++) tokens[1 + i] = (struct token){INTEGER, {.integer = last - i}};
  return ok(tokens, 1 + count);
}

/* Where the host looks for the reply. */
static struct reply reply;

EXPORT(HANDLER "handle")
const struct reply *handle(uint32_t command, struct slice *args, size_t argc) {
  reply = command == TICKET ? ticket() : last_tickets(args, argc);
  for (size_t i = 0; i < argc; i++) give_back(args[i]);
  give_back((struct slice){args, argc});
  return &reply;
}

/* The host has read the reply. */
EXPORT(POST HANDLER "handle")
void after_handle(const struct reply *done) {
  if (!done->is_error) give_back(done->value);
}
