// One client of a run by ioredis: as load.py.

const readline = require("node:readline");
const { Cluster, Redis } = require("ioredis");

const [way, ...addresses] = process.argv.slice(2);
const nodes = addresses.map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});

// No command is sent twice when a connection breaks: it may have been run already.
const once = { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, commandTimeout: 4000 };

function connect() {
  switch (way) {
    case "single":
      return new Redis({ ...nodes[0], ...once });
    case "cluster":
      return new Cluster(nodes, { redisOptions: once, retryDelayOnFailover: 0 });
    default:
      return new Redis({ name: "uhaha", sentinels: nodes, failoverDetector: true, ...once });
  }
}

async function outcome(client, words) {
  try {
    const reply = await client.call(...words);
    if (reply === null) return "_";
    if (typeof reply === "number") return `:${reply}`;
    return words[0] === "SET" ? `+${reply}` : `$${reply}`;
  } catch (error) {
    return error.name === "ReplyError" ? `-${error.message}` : `?${error.name} ${error.message}`;
  }
}

const client = connect();
// Who asked is told that a command failed; an error of the connection itself must not end the process.
client.on("error", () => {});
readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  console.log((await outcome(client, line.split(" "))).replaceAll("\n", " "));
}).on("close", () => process.exit(0));
