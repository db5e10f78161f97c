//! From the server's calls to the machine's commands, in the two forms that the contract has.

use crate::reply::ReplyWriter;
use crate::{Args, Machine};

/// Runs one command of a machine whose arguments are `count` × { length, bytes }, and ends its reply.
#[inline]
pub(crate) fn run<M: Machine>(machine: &mut M, command: u32, count: u32, args: &[u8], reply: &mut ReplyWriter) {
    let name = M::COMMANDS.get(command as usize).map_or("", |spec| spec.name);
    let start = reply.begin();
    if let Err(error) = machine.handle(command, Args::new(name, count, args), reply) {
        reply.error(&error);
    }
    reply.end(start);
}

/// `batch.handle-batch`.
///
/// # Panics
/// When the batch is malformed: the server has broken the contract, and a trap is the only answer.
pub(crate) fn handle_batch<M: Machine>(machine: &mut M, commands: &[u8]) -> Vec<u8> {
    let mut batch = Batch(commands);
    let count = batch.number();
    // A command takes at least 8 bytes of the batch, a short reply with its length about 16.
    let mut reply = ReplyWriter::with_capacity(4 + 2 * commands.len());
    reply.raw(&count.to_le_bytes());
    for _ in 0..count {
        let command = batch.number();
        let count = batch.number();
        let args = batch.args(count);
        run(machine, command, count, args, &mut reply);
    }
    reply.into_bytes()
}

/// Runs one command with its arguments in pieces and returns its reply.
pub(crate) fn handle<M: Machine>(machine: &mut M, command: u32, args: &[impl AsRef<[u8]>]) -> ReplyWriter {
    let mut bytes = Vec::new();
    for arg in args.iter().map(AsRef::as_ref) {
        let length = u32::try_from(arg.len()).expect("an argument in a 32-bit guest has a 32-bit length");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(arg);
    }
    let count = u32::try_from(args.len()).expect("a list in a 32-bit guest has a 32-bit count");
    let mut reply = ReplyWriter::with_capacity(64);
    run(machine, command, count, &bytes, &mut reply);
    reply
}

/// What is left of a batch.
struct Batch<'a>(&'a [u8]);

impl<'a> Batch<'a> {
    #[inline]
    fn number(&mut self) -> u32 {
        let (number, rest) = self.0.split_first_chunk().expect("a batch ends early");
        self.0 = rest;
        u32::from_le_bytes(*number)
    }

    /// The bytes of this many arguments.
    #[inline]
    fn args(&mut self, count: u32) -> &'a [u8] {
        let args = self.0;
        for _ in 0..count {
            let length = self.number() as usize;
            self.0 = self.0.get(length..).expect("a batch ends early");
        }
        &args[..args.len() - self.0.len()]
    }
}
