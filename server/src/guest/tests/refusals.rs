//! Modules that are refused at load for what they do before they can be asked anything, or for what they need.

use super::*;

const LIMITS: Limits = Limits { start_fuel_max: 5_000_000, memory_bytes_max: 1 << 20, ..Limits::DEFAULT };

fn text() -> String {
    String::from_utf8(HOSTILE.to_vec()).unwrap()
}

/// The guest with more functions.
fn with(functions: &str) -> String {
    text().replacen("  (func $add\n", &format!("{functions}\n  (func $add\n"), 1)
}

fn begins_with(instructions: &str) -> String {
    with(&format!("(start $begin) (func $begin {instructions})"))
}

/// Why the module is refused, with all causes.
#[track_caller]
fn refused(module: &str) -> String {
    crate::fault::chain(&load(module.as_bytes(), LIMITS).err().expect("the module is refused"))
}

#[test]
fn a_start_that_fails_is_a_refusal_with_the_reason() {
    let down = "(func $below (param i64) (result i64)
        (i64.add (call $below (i64.add (local.get 0) (i64.const 1))) (i64.load (i32.const 2048))))";
    for (module, reason) in [
        (begins_with("unreachable"), "wasm trap: wasm `unreachable` instruction executed"),
        (begins_with("(loop $for-ever (br $for-ever))"), "it used more than 5000000 units of fuel"),
        (
            begins_with("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"),
            "it needs more than 1048576 bytes of memory",
        ),
        (
            begins_with("(drop (call $below (i64.const 0)))").replacen(
                "(func $add\n",
                &format!("{down} (func $add\n"),
                1,
            ),
            "call stack exhausted: its calls are nested too deeply",
        ),
        (text().replace("\"memory\") 2)", "\"memory\") 17)"), "it needs more than 1048576 bytes of memory"),
    ] {
        assert_eq!(refused(&module), format!("the guest failed while it was started: {reason}"));
    }
}

/// It may look at the clock and draw numbers, which are the same everywhere.
#[test]
fn a_start_may_call_the_host() {
    let module = begins_with("(i64.store (i32.const 2048) (i64.xor (call $host-now) (call $host-random)))");
    let first = |guest: &Guest| run(guest, &mut guest.instantiate().unwrap(), "GET").unwrap();
    let (one, other) = (load(module.as_bytes(), LIMITS).unwrap(), load(module.as_bytes(), LIMITS).unwrap());
    assert_ne!(first(&one), "*2\r\n:0\r\n:0\r\n");
    assert_eq!((first(&one), first(&one)), (first(&other), first(&other)));
}

/// What takes or gives memory is connected only after the start function; `_initialize` runs later.
#[test]
fn a_start_function_cannot_pass_memory_to_the_host_and_initialize_can() {
    let import =
        "(import \"uhaha:machine/host@0.1.0\" \"log\" (func $host-log (param i32 i32 i32)))\n  (memory (export";
    let logging = "(call $host-log (i32.const 1) (i32.const 4096) (i32.const 7))";
    let module = |functions: String| with(&functions).replacen("(memory (export", import, 1);
    let start = refused(&module(format!("(start $begin) (func $begin {logging})")));
    assert!(start.starts_with("the guest failed while it was started: wasm trap: "), "{start}");
    load(module(format!("(func (export \"_initialize\") {logging})")).as_bytes(), LIMITS).unwrap();
}

#[test]
fn a_description_that_fails_or_is_no_text_is_refused() {
    let described = |with: &str| {
        text().replace("#describe\") (result i32) (i32.const 3072))", &format!("#describe\") (result i32) {with})"))
    };
    for (module, reason) in [
        (described("unreachable"), "`describe` failed: wasm trap: wasm `unreachable` instruction executed"),
        (
            described("(loop $for-ever (br $for-ever)) unreachable"),
            "`describe` failed: it used more than 5000000 units of fuel",
        ),
        (described("(i32.const -8)"), "`describe` failed: "),
        (text().replace("\"hostile1.0.0", "\"hos\\ffile1.0"), "`describe` failed: "),
        (text().replace("INCRAdds", "IN\\ffRAdds"), "`describe` failed: "),
        (text().replace("INCRAdds", "IN RAdds"), "what `describe` returned is refused: the command name \"IN R\""),
    ] {
        assert!(refused(&module).starts_with(reason), "{reason:?}: {}", refused(&module));
    }
}

#[test]
fn what_processors_may_decide_is_refused() {
    let relaxed = with(
        "(func (export \"relaxed\") (param v128 v128) (result v128)
            (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))",
    );
    assert!(refused(&relaxed).contains("relaxed SIMD"), "{}", refused(&relaxed));
    let shared = text().replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 2 2 shared)");
    assert!(refused(&shared).contains("threads are not deterministic"), "{}", refused(&shared));
}
