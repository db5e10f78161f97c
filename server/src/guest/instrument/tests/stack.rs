use super::super::STACK_SLOTS;
use super::rig::{End, Program, Rig, component, rewritten, with_stack};
use crate::guest::engine::STACK_BYTES;
use std::fmt::Write;
use wasmtime::{Config, OptLevel};

/// Adds one for each level down to 0.
pub(super) const DOWN: &str = r#"(func $f (export "f") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
        (then (i32.const 0))
        (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))))"#;

/// What a rewritten body could break: each leaves its function, or calls, from another place.
const SHAPES: [&str; 12] = [
    // A branch to the function's own label, with operands left below.
    r#"(func $g (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
       (func (export "f") (param i32) (result i32)
         (i32.const 7) (block (br_if 0 (i32.lt_s (local.get 0) (i32.const 5))) (br 1 (call $g (local.get 0))))
         (drop) (call $g (i32.const 11)))"#,
    // Returns from inside of a loop, a block and an if, with operands left below.
    r#"(func $g (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
       (func (export "f") (param i32) (result i32) (local i32)
         (i32.const 99)
         (loop $next
           (local.set 1 (call $g (local.get 1)))
           (block (if (i32.gt_s (local.get 1) (local.get 0)) (then (i32.const 5) (return (local.get 1)))))
           (br_if $next (i32.lt_s (local.get 1) (i32.const 100))))
         (drop) (local.get 1))"#,
    // A table of branches of which one leaves the function.
    r#"(func $g (param i32) (result i32) (i32.sub (i32.const 50) (local.get 0)))
       (func (export "f") (param i32) (result i32)
         (block $one (result i32)
           (block $two (result i32)
             (br_table $one $two 2 (call $g (local.get 0)) (local.get 0)))
           (i32.add (i32.const 1000)))
         (i32.add (i32.const 100000)))"#,
    // Several results, and a branch that carries them.
    r#"(func $two (param i32) (result i32 i64 i32)
         (if (i32.and (local.get 0) (i32.const 1))
           (then (br 1 (local.get 0) (i64.const 4) (call $one (local.get 0)))))
         (call $one (local.get 0)) (i64.const 6) (i32.const 9) (return))
       (func $one (param i32) (result i32) (i32.xor (local.get 0) (i32.const 21)))
       (func (export "f") (param i32) (result i32)
         (call $two (local.get 0)) (i32.mul (i32.const 13)) (local.set 0) (i32.wrap_i64) (i32.add) (local.get 0) (i32.sub))"#,
    // A block with parameters around a call.
    r#"(func $g (param i32 i32) (result i32) (i32.sub (local.get 0) (local.get 1)))
       (func (export "f") (param i32) (result i32)
         (local.get 0) (i32.const 3)
         (block (param i32 i32) (result i32) (call $g) (br_if 0 (i32.const 1) (local.get 0)) (drop) (unreachable)))"#,
    // A call after which nothing can be reached.
    r#"(func $g (param i32) (if (i32.gt_s (local.get 0) (i32.const 6)) (then (unreachable))))
       (func (export "f") (param i32) (result i32)
         (call $g (local.get 0)) (return (i32.const 5)) (call $g (i32.const 9)) (br 0))"#,
    // Tail calls.
    r#"(func $even (param i32) (result i32)
         (if (i32.eqz (local.get 0)) (then (return (call $one))))
         (return_call $odd (i32.sub (local.get 0) (i32.const 1))))
       (func $odd (param i32) (result i32)
         (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
         (block (drop (call $one)) (return_call $even (i32.sub (local.get 0) (i32.const 1))))
         (i32.const 3))
       (func $one (result i32) (i32.const 1))
       (func (export "f") (param i32) (result i32) (call $even (i32.mul (local.get 0) (i32.const 100001))))"#,
    // Recursion through a table, and a tail call through it.
    r#"(type $t (func (param i32) (result i32)))
       (table funcref (elem $f $g))
       (func $f (export "f") (type $t)
         (if (result i32) (i32.lt_s (local.get 0) (i32.const 1)) (then (i32.const 1))
           (else (i32.add (local.get 0) (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1))))))
       (func $g (type $t) (return_call_indirect (type $t) (local.get 0) (i32.const 0)))"#,
    // Typed references to functions.
    r#"(type $t (func (param i32) (result i32)))
       (elem declare func $g)
       (func $g (type $t) (i32.shl (local.get 0) (i32.const 2)))
       (func (export "f") (type $t) (i32.add (i32.const 1) (call_ref $t (local.get 0) (ref.func $g))))"#,
    // Globals and functions that move up, in code, constants, segments, exports and a start function.
    r#"(global $a i32 (i32.const 2)) (global $b (mut i32) (global.get $a)) (global $c i32 (global.get $a))
       (table 4 funcref) (elem (offset (global.get $a)) func $g $h) (memory 1) (data (offset (global.get $c)) "xyz")
       (export "g" (func $g)) (export "b" (global $b)) (start $s)
       (func $s (call $h (i32.const 40)))
       (func $g (param i32) (global.set $b (i32.add (global.get $b) (local.get 0))))
       (func $h (param i32) (call $g (local.get 0)) (call $g (local.get 0)))
       (func (export "f") (param i32) (result i32)
         (call_indirect (param i32) (local.get 0) (i32.const 3))
         (i32.add (global.get $b) (i32.load8_u (global.get $a))))"#,
    // Vectors, and locals of every kind.
    r#"(func $g (param v128 f64) (result v128 f32) (local i64 f32 funcref)
         (i32x4.add (local.get 0) (call $v)) (f32.demote_f64 (local.get 1)))
       (func $v (result v128) (v128.const i32x4 1 2 3 4))
       (func (export "f") (param i32) (result i32) (local f32)
         (call $g (i32x4.splat (local.get 0)) (f64.const 2.5)) (local.set 1)
         (i32x4.extract_lane 2) (i32.add (i32.trunc_f32_s (local.get 1))))"#,
    // Plain recursion.
    DOWN,
];

#[test]
fn a_rewritten_function_does_what_it_did() {
    for (number, shape) in SHAPES.iter().enumerate() {
        let wat = component(shape);
        let (mut original, mut rewritten) = (Rig::original(&wat), Rig::rewritten(&wat));
        for n in [0, 1, 2, 3, 4, 5, 6, 7, 30] {
            let expected = original.call("f", n);
            assert_eq!(rewritten.call("f", n), expected, "shape {number}, f({n})");
            if !matches!(expected, End::Value(_)) {
                break;
            }
        }
    }
}

/// Frames that are left, however they are left, are given back: else a million calls would use up the stack.
#[test]
fn what_a_call_takes_it_gives_back() {
    for (number, shape) in SHAPES.iter().enumerate() {
        // `h` calls `f` so often that a slot lost in each call would be missed.
        let wat = format!(
            "(component (core module $m {shape}) (core instance $i (instantiate $m))
             (core module $often (import \"\" \"f\" (func $f (param i32) (result i32)))
               (func (export \"h\") (param i32) (result i32)
                 (loop (drop (call $f (i32.or (i32.and (local.get 0) (i32.const 2)) (i32.const 1))))
                   (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (i32.const 1)))
             (core instance $o (instantiate $often (with \"\" (instance $i))))
             (func (export \"h\") (param \"n\" s32) (result s32) (canon lift (core func $o \"h\"))))"
        );
        let calls = if shape.contains("100001") { 50 } else { STACK_SLOTS as i32 / 60 };
        assert_eq!(Rig::rewritten(&wat).call("h", calls), End::Value(1), "shape {number}");
    }
}

/// The deepest `f(n)` that succeeds.
pub(super) fn deepest(program: &Program) -> i32 {
    let (mut fits, mut fails) = (0, STACK_SLOTS as i32);
    while fails - fits > 1 {
        let n = fits + (fails - fits) / 2;
        match program.start().call("f", n) {
            End::Value(_) => fits = n,
            End::Exhausted => fails = n,
            end => panic!("f({n}) gave {end:?}"),
        }
    }
    fits
}

/// What the native stack could not promise.
#[test]
fn depth_and_fuel_do_not_depend_on_the_code_generator() {
    with_stack(|| {
        for body in [DOWN.to_owned(), recursive("i64", 10, Kept::InLocals), recursive("v128", 100, Kept::ByTheCompiler)]
        {
            let wasm = rewritten(&component(&body)).0;
            let run = |level| {
                let adjust = |config: &mut Config| {
                    config.cranelift_opt_level(level);
                };
                let program = Program::with(adjust, &wasm);
                let depth = deepest(&program);
                let mut rig = program.start();
                assert_eq!(rig.call("f", depth + 1), End::Exhausted);
                (depth, rig.fuel())
            };
            let (depth, fuel) = run(OptLevel::Speed);
            assert_eq!((depth, fuel), run(OptLevel::None));
            assert!(depth > 10_000, "{depth} levels are too few");
        }
    });
}

/// Two core modules that call each other through a table, as those that a toolchain links, have one counter.
#[test]
fn modules_that_call_each_other_share_the_counter() {
    let through_table = r#"(component
        (core module $a
          (table (export "t") 1 funcref)
          (func $f (export "f") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
              (else (i32.add (i32.const 1) (call_indirect (param i32) (result i32)
                (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))))
        (core instance $ia (instantiate $a))
        (core module $b
          (import "a" "t" (table 1 funcref)) (import "a" "f" (func $f (param i32) (result i32)))
          (elem (i32.const 0) $g)
          (func $g (param i32) (result i32) (i32.add (i32.const 0) (call $f (local.get 0)))))
        (core instance $ib (instantiate $b (with "a" (instance $ia))))
        (func (export "f") (param "n" s32) (result s32) (canon lift (core func $ia "f"))))"#;
    with_stack(|| {
        let alone = deepest(&Program::new(&rewritten(&component(DOWN)).0));
        let together = deepest(&Program::new(&rewritten(through_table).0));
        assert!(together > alone / 4 && together < alone * 3 / 4, "{together} of {alone}");
        assert_eq!(Rig::rewritten(through_table).call("f", i32::MAX), End::Exhausted);
    });
}

/// The first instantiation runs a start function: its recursion is counted as well.
#[test]
fn a_start_function_is_counted() {
    let wat = component(&format!("{DOWN} (start $s) (func $s (drop (call $f (i32.const 1000))))"));
    assert_eq!(Rig::rewritten(&wat).call("f", 5), End::Value(5));
}

/// A function whose `values` of type `ty` are used before its recursive call and again after it. They are kept in
/// locals, or, if they are made anew each time, where the compiler keeps what it need not compute again.
fn recursive(ty: &str, values: usize, kept: Kept) -> String {
    let (zero, of_parameter, combine) = match ty {
        "v128" => ("(v128.const i64x2 0 0)", "(i32x4.splat (local.get 0))", ["v128.xor", "i32x4.add"]),
        _ => ("(i64.const 0)", "(i64.extend_i32_u (local.get 0))", ["i64.xor", "i64.add"]),
    };
    let value = |number: usize| match ty {
        "v128" => format!("(i32x4.mul (local.get 2) (v128.const i32x4 {number} 5 6 {number}))"),
        _ => format!("(i64.mul (local.get 2) (i64.const {}))", 2 * number + 3),
    };
    let mut made = String::new();
    // The two sums differ, or the compiler would keep nothing but the first.
    let mut sums = [zero.to_owned(), zero.to_owned()];
    for number in 0..values {
        let used = match kept {
            Kept::InLocals => {
                let _ = write!(made, "(local.set {} {})", number + 3, value(number));
                format!("(local.get {})", number + 3)
            }
            Kept::ByTheCompiler => value(number),
        };
        sums = [0, 1].map(|sum| format!("({} {} {used})", combine[sum], sums[sum]));
    }
    let [before, after] = sums;
    let locals = if kept == Kept::InLocals { format!("{ty} ").repeat(values) } else { String::new() };
    format!(
        r#"(global $sink (mut {ty}) {zero})
        (func $f (export "f") (param i32) (result i32) (local i32) (local {ty}) (local {locals})
          (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
          (local.set 2 {of_parameter}) {made}
          (global.set $sink {before})
          (local.set 1 (call $f (i32.sub (local.get 0) (i32.const 1))))
          (global.set $sink {after})
          (i32.add (local.get 1) (i32.const 1)))"#
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Kept {
    InLocals,
    ByTheCompiler,
}

/// A function that passes on and returns `count` values.
fn wide(ty: &str, count: usize) -> String {
    let (types, zero) =
        (format!("{ty} ").repeat(count), format!("({ty}.const {})", if ty == "v128" { "i64x2 0 0" } else { "0" }));
    let locals = (1..=count).map(|local| format!("(local.get {local})")).collect::<String>();
    format!(
        r#"(func $g (param i32 {types}) (result i32 {types})
          (if (i32.eqz (local.get 0)) (then (return (local.get 0) {locals})))
          (call $g (i32.sub (local.get 0) (i32.const 1)) {locals}))
        (func (export "f") (param i32) (result i32) (call $g (local.get 0) {zeros}) {drops})"#,
        zeros = zero.repeat(count),
        drops = "(drop)".repeat(count),
    )
}

/// Functions whose frames are as large as they come, for what they are charged.
fn large_frames() -> Vec<(String, String)> {
    let mut found = vec![("nothing but itself".to_owned(), DOWN.to_owned())];
    for ty in ["i64", "v128"] {
        for values in [10, 1000] {
            found.push((format!("{values} {ty} locals"), recursive(ty, values, Kept::InLocals)));
            found.push((format!("{values} {ty} values computed twice"), recursive(ty, values, Kept::ByTheCompiler)));
        }
        found.push((format!("900 {ty} parameters and results"), wide(ty, 900)));
    }
    found
}

/// With half of the native stack, and with code as good and as bad as the compiler can make it.
#[test]
fn the_counter_gives_out_before_half_of_the_native_stack() {
    with_stack(|| {
        for (name, body) in large_frames() {
            let wasm = rewritten(&component(&body)).0;
            for level in [OptLevel::None, OptLevel::Speed] {
                let adjust = |config: &mut Config| {
                    config.max_wasm_stack(STACK_BYTES / 2).cranelift_opt_level(level);
                };
                assert_eq!(
                    Program::with(adjust, &wasm).start().call("f", i32::MAX),
                    End::Exhausted,
                    "{name}, {level:?}"
                );
            }
        }
    });
}
