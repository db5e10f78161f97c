;; The counter of counter.wat with a portable form of its state, which goes wrong in a way that the count decides. For
;; tests.
;; Memory: 16 the result, 32 what was read, 64 the reply's token, 512 the state, 600 texts, 3072 the description, 4096 its
;; strings.
(module
  (import "uhaha:machine/portable-io@0.1.0" "write" (func $write (param i32 i32)))
  (import "uhaha:machine/portable-io@0.1.0" "read" (func $read (param i32 i32)))
  (memory (export "memory") 40)
  (global $count (mut i64) (i64.const 0))
  (global $top (mut i32) (i32.const 65536))
  (data (i32.const 600) "not today")
  (data (i32.const 3072) "\00\10\00\00\07\00\00\00\07\10\00\00\05\00\00\00\88\10\00\00\03\00\00\00\07\00\00\00")
  (data (i32.const 4096) "counter1.0.0ACounts, and returns the countBWrites a state as no command mayRReturns the count\00")
  (data (i32.const 4232) "\0c\10\00\00\01\00\00\00\00\00\00\00\01\00\00\00\0d\10\00\00\1d\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00*\10\00\00\01\00\00\00\00\00\00\00\01\00\00\00+\10\00\00\20\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00K\10\00\00\01\00\00\00\01\00\00\00\01\00\00\00L\10\00\00\11\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")

  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $bytes)))
    (local.get $at))

  (func (export "uhaha:machine/handler@0.1.0#describe") (result i32) (i32.const 3072))

  (func (export "uhaha:machine/handler@0.1.0#handle") (param $command i32) (param i32 i32) (result i32)
    (global.set $top (i32.const 65536))
    (if (i32.eq (local.get $command) (i32.const 0)) (then
      (global.set $count (i64.add (global.get $count) (i64.const 1)))))
    (if (i32.eq (local.get $command) (i32.const 1)) (then (call $write (i32.const 512) (i32.const 8))))
    (i32.store (i32.const 64) (i32.const 2))
    (i64.store (i32.const 72) (global.get $count))
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 64))
    (i32.store (i32.const 24) (i32.const 1))
    (i32.const 16))

  (func $done (result i32) (i32.store (i32.const 16) (i32.const 0)) (i32.const 16))
  (func $refuse (result i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (i32.const 600))
    (i32.store (i32.const 24) (i32.const 9))
    (i32.const 16))
  (func $is (param i64) (result i32) (i64.eq (global.get $count) (local.get 0)))
  (func $spin (loop $for-ever (br $for-ever)))

  ;; 1 traps, 2 refuses, 3 never ends, 4 writes too much at once, 5 reads.
  (func (export "uhaha:machine/portable@0.1.0#save") (result i32)
    (if (call $is (i64.const 1)) (then unreachable))
    (if (call $is (i64.const 2)) (then (return (call $refuse))))
    (if (call $is (i64.const 3)) (then (call $spin)))
    (if (call $is (i64.const 4)) (then (call $write (i32.const 65536) (i32.const 0x100001))))
    (if (call $is (i64.const 5)) (then (call $read (i32.const 8) (i32.const 32))))
    (i64.store (i32.const 512) (global.get $count))
    ;; To save must not change the state of the machine.
    (global.set $count (i64.const 1000))
    (call $write (i32.const 512) (i32.const 3))
    (call $write (i32.const 0) (i32.const 0))
    (call $write (i32.const 515) (i32.const 5))
    (call $done))

  ;; 6 traps, 7 refuses, 8 never ends, 9 writes.
  (func (export "uhaha:machine/portable@0.1.0#load") (param $version i32) (result i32)
    (local $at i32)
    (if (i32.ne (local.get $version) (i32.const 7)) (then (return (call $refuse))))
    (local.set $at (i32.const 512))
    (loop $more
      (global.set $top (i32.const 65536))
      (call $read (i32.const 3) (i32.const 32))
      (memory.copy (local.get $at) (i32.load (i32.const 32)) (i32.load (i32.const 36)))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 36))))
      (br_if $more (i32.load (i32.const 36))))
    (if (i32.ne (local.get $at) (i32.const 520)) (then unreachable))
    (global.set $count (i64.load (i32.const 512)))
    (if (call $is (i64.const 6)) (then unreachable))
    (if (call $is (i64.const 7)) (then (return (call $refuse))))
    (if (call $is (i64.const 8)) (then (call $spin)))
    (if (call $is (i64.const 9)) (then (call $write (i32.const 512) (i32.const 8))))
    (call $done))
)
