// A ticket service in JavaScript, without an SDK: what `wit/` says, as componentize-qjs gives it to a module.
//
// Nothing here is about snapshots: the server images the memory of the engine, and these variables are in it.

// The whole state.
let last = 0;

const integer = (val) => ({ tag: "integer", val });
const array = (elements) => [{ tag: "array", val: elements.length }, ...elements];
// QuickJS has no TextDecoder.
const text = (bytes) => String.fromCharCode(...bytes);

function ticket() {
  last += 1;
  return [integer(last)];
}

function lastTickets([digits]) {
  const wanted = digits ? text(digits) : "1";
  const count = /^[0-9]{1,4}$/.test(wanted) ? Number(wanted) : 0;
  if (count < 1 || count > 1000) throw "expected a number from 1 to 1000";
  return array(Array.from({ length: Math.min(count, last) }, (_, back) => integer(last - back)));
}

const command = (name, kind, arity, summary) => ({ name, kind, arity, summary, group: "", arguments: [] });
const commands = [
  [command("TICKET", "write", 1, "Returns a new ticket, greater than every ticket before"), ticket],
  [command("LAST", "read", -1, "LAST [count]: returns the last tickets, the newest first"), lastTickets],
];

export const handler = {
  describe: () => ({ name: "ticket-js", version: "0.1.0", commands: commands.map(([spec]) => spec), stateVersion: 0 }),
  handle: (position, args) => commands[position][1](args),
};
