;; A guest that takes its argument for text, whatever is in it. A core module.
;; Memory: 16 the result, 64 the reply's token, 2048 the counter, 3072 the description, 4096 the names of the commands,
;; 5120 what is said of each.
(module
  (import "uhaha:machine/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 2)
  (global $counter (mut i64) (i64.const 0))
  (global $top (mut i32) (i32.const 65536))
  (data (i32.const 4032) "bytes1.0")
  ;; Each in eight bytes.
  (data (i32.const 4096) "INCR    GET     BULK    SIMPLE  VERBATIMNUMBER  ERROR   REFUSE  NOTE    RNOTE   RBULK   ")

  ;; Arguments are bump-allocated and given back by the call that gets them.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $bytes)))
    (local.get $at))

  (func $declare (param $command i32) (param $name-bytes i32) (param $kind i32) (param $arity i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 5120) (i32.mul (local.get $command) (i32.const 40))))
    (i32.store (local.get $at) (i32.add (i32.const 4096) (i32.shl (local.get $command) (i32.const 3))))
    (i32.store offset=4 (local.get $at) (local.get $name-bytes))
    (i32.store8 offset=8 (local.get $at) (local.get $kind))
    (i32.store offset=12 (local.get $at) (local.get $arity)))
  (func (export "uhaha:machine/handler@0.1.0#describe") (result i32)
    (i32.store (i32.const 3072) (i32.const 4032))
    (i32.store (i32.const 3076) (i32.const 5))
    (i32.store (i32.const 3080) (i32.const 4037))
    (i32.store (i32.const 3084) (i32.const 3))
    (i32.store (i32.const 3088) (i32.const 5120))
    (i32.store (i32.const 3092) (i32.const 11))
    (call $declare (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 1))
    (call $declare (i32.const 1) (i32.const 3) (i32.const 1) (i32.const 1))
    (call $declare (i32.const 2) (i32.const 4) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 3) (i32.const 6) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 4) (i32.const 8) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 5) (i32.const 6) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 6) (i32.const 5) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 7) (i32.const 6) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 9) (i32.const 5) (i32.const 1) (i32.const 2))
    (call $declare (i32.const 10) (i32.const 5) (i32.const 1) (i32.const 2))
    (i32.const 3072))

  ;; The counter stands in memory and in a global, so that a test sees both undone.
  (func $add
    (i64.store (i32.const 2048) (i64.add (i64.load (i32.const 2048)) (i64.const 1)))
    (global.set $counter (i64.add (global.get $counter) (i64.const 1))))
  ;; A reply of $count tokens that stand at 64.
  (func $tokens (param $count i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 64))
    (i32.store (i32.const 24) (local.get $count))
    (i32.const 16))
  (func $put (param $at i32) (param $case i32) (param $value i64)
    (i32.store (local.get $at) (local.get $case))
    (i64.store offset=8 (local.get $at) (local.get $value)))
  ;; The argument as a token of this case. A pointer and a length are 64 bits.
  (func $as (param $case i32) (param $argument i64) (result i32)
    (call $put (i32.const 64) (local.get $case) (local.get $argument))
    (call $tokens (i32.const 1)))

  (func (export "uhaha:machine/handler@0.1.0#handle") (param $command i32) (param $args i32) (param i32) (result i32)
    (local $argument i64)
    (global.set $top (i32.const 65536))
    (if (i32.eq (local.get $command) (i32.const 1)) (then
      (call $put (i32.const 64) (i32.const 9) (i64.const 2))
      (call $put (i32.const 80) (i32.const 2) (i64.load (i32.const 2048)))
      (call $put (i32.const 96) (i32.const 2) (global.get $counter))
      (return (call $tokens (i32.const 3)))))
    (call $add)
    (if (i32.eqz (local.get $command)) (then
      (call $put (i32.const 64) (i32.const 2) (i64.load (i32.const 2048)))
      (return (call $tokens (i32.const 1)))))
    (local.set $argument (i64.load (local.get $args)))
    (if (i32.eq (local.get $command) (i32.const 3)) (then (return (call $as (i32.const 4) (local.get $argument)))))
    (if (i32.eq (local.get $command) (i32.const 4)) (then (return (call $as (i32.const 6) (local.get $argument)))))
    (if (i32.eq (local.get $command) (i32.const 5)) (then (return (call $as (i32.const 7) (local.get $argument)))))
    (if (i32.eq (local.get $command) (i32.const 6)) (then (return (call $as (i32.const 8) (local.get $argument)))))
    (if (i32.eq (local.get $command) (i32.const 7)) (then
      (i32.store (i32.const 16) (i32.const 1))
      (i64.store (i32.const 20) (local.get $argument))
      (return (i32.const 16))))
    (if (i32.or (i32.eq (local.get $command) (i32.const 8)) (i32.eq (local.get $command) (i32.const 9))) (then
      (call $log (i32.const 2) (i32.load (local.get $args)) (i32.load offset=4 (local.get $args)))))
    (call $as (i32.const 5) (local.get $argument)))
)
