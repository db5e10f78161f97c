;; A guest that takes batches and breaks their form. A core module.
;; Memory: 16 the result, 2048 the counter, 3072 the description, 4096 the names of the commands, 5120 what is said of
;; each, 8192 the replies.
(module
  (memory (export "memory") 2)
  (global $counter (mut i64) (i64.const 0))
  (global $top (mut i32) (i32.const 65536))
  ;; Where the next byte of the replies goes.
  (global $out (mut i32) (i32.const 8192))
  (data (i32.const 4032) "batch1.0")
  ;; Each in eight bytes.
  (data (i32.const 4096) "INCR    GET     COUNT   SHORT   TRAIL   TYPE    OPEN    PAST    TRAP    SPIN    BLOAT   HUGE    ")

  ;; Arguments are bump-allocated and given back by the call that gets them.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $bytes)))
    (local.get $at))

  (func $declare (param $command i32) (param $name-bytes i32) (param $kind i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 5120) (i32.mul (local.get $command) (i32.const 40))))
    (i32.store (local.get $at) (i32.add (i32.const 4096) (i32.shl (local.get $command) (i32.const 3))))
    (i32.store offset=4 (local.get $at) (local.get $name-bytes))
    (i32.store8 offset=8 (local.get $at) (local.get $kind))
    (i32.store offset=12 (local.get $at) (i32.const 1)))
  (func (export "uhaha:machine/handler@0.1.0#describe") (result i32)
    (i32.store (i32.const 3072) (i32.const 4032))
    (i32.store (i32.const 3076) (i32.const 5))
    (i32.store (i32.const 3080) (i32.const 4037))
    (i32.store (i32.const 3084) (i32.const 3))
    (i32.store (i32.const 3088) (i32.const 5120))
    (i32.store (i32.const 3092) (i32.const 12))
    (call $declare (i32.const 0) (i32.const 4) (i32.const 0))
    (call $declare (i32.const 1) (i32.const 3) (i32.const 1))
    (call $declare (i32.const 2) (i32.const 5) (i32.const 0))
    (call $declare (i32.const 3) (i32.const 5) (i32.const 0))
    (call $declare (i32.const 4) (i32.const 5) (i32.const 0))
    (call $declare (i32.const 5) (i32.const 4) (i32.const 0))
    (call $declare (i32.const 6) (i32.const 4) (i32.const 0))
    (call $declare (i32.const 7) (i32.const 4) (i32.const 0))
    (call $declare (i32.const 8) (i32.const 4) (i32.const 0))
    (call $declare (i32.const 9) (i32.const 4) (i32.const 0))
    (call $declare (i32.const 10) (i32.const 5) (i32.const 0))
    (call $declare (i32.const 11) (i32.const 4) (i32.const 0))
    (i32.const 3072))
  ;; A server that knows of batches has no use for it.
  (func (export "uhaha:machine/handler@0.1.0#handle") (param i32 i32 i32) (result i32) unreachable)

  ;; The counter stands in memory and in a global, so that a test sees both undone.
  (func $add
    (i64.store (i32.const 2048) (i64.add (i64.load (i32.const 2048)) (i64.const 1)))
    (global.set $counter (i64.add (global.get $counter) (i64.const 1))))
  (func $byte (param $byte i32)
    (i32.store8 (global.get $out) (local.get $byte))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))
  (func $line-end (call $byte (i32.const 13)) (call $byte (i32.const 10)))
  (func $digits (param $value i64)
    (if (i64.gt_u (local.get $value) (i64.const 9)) (then (call $digits (i64.div_u (local.get $value) (i64.const 10)))))
    (call $byte (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10))))))
  ;; `*` or `:` and a number.
  (func $number (param $marker i32) (param $value i64)
    (call $byte (local.get $marker)) (call $digits (local.get $value)) (call $line-end))

  ;; Appends a reply and its length.
  (func $reply (param $command i32)
    (local $length i32)
    (local.set $length (global.get $out))
    (global.set $out (i32.add (global.get $out) (i32.const 4)))
    (if (i32.eq (local.get $command) (i32.const 1))
      (then
        (call $number (i32.const 42) (i64.const 2))
        (call $number (i32.const 58) (i64.load (i32.const 2048)))
        (call $number (i32.const 58) (global.get $counter)))
      (else
        (call $add)
        (if (i32.eq (local.get $command) (i32.const 5)) (then (call $byte (i32.const 64)) (call $line-end)))
        (if (i32.eq (local.get $command) (i32.const 6)) (then (call $number (i32.const 42) (i64.const 9))))
        (call $number (i32.const 58) (i64.load (i32.const 2048)))))
    (if (i32.eq (local.get $command) (i32.const 8)) (then unreachable))
    (if (i32.eq (local.get $command) (i32.const 9)) (then (loop $for-ever (br $for-ever))))
    (if (i32.eq (local.get $command) (i32.const 10)) (then
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable))
    (i32.store (local.get $length) (i32.sub (i32.sub (global.get $out) (local.get $length)) (i32.const 4)))
    (if (i32.eq (local.get $command) (i32.const 3)) (then (i32.store (local.get $length) (i32.const 5000))))
    (if (i32.eq (local.get $command) (i32.const 4)) (then (call $byte (i32.const 0))))
    (if (i32.eq (local.get $command) (i32.const 11)) (then (i32.store (local.get $length) (i32.const 0x7fffffff)))))

  (func (export "uhaha:machine/batch@0.1.0#handle-batch") (param $at i32) (param i32) (result i32)
    (local $left i32)
    (local $count i32)
    (local $command i32)
    (local $bytes i32)
    (global.set $top (i32.const 65536))
    (global.set $out (i32.const 8196))
    (local.set $left (i32.load (local.get $at)))
    (local.set $count (local.get $left))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $command (i32.load (local.get $at)))
        (call $reply (local.get $command))
        (if (i32.eq (local.get $command) (i32.const 2)) (then
          (local.set $count (i32.add (local.get $count) (i32.const 1)))))
        (if (i32.eq (local.get $command) (i32.const 7)) (then (local.set $bytes (i32.const 0x7fff0000))))
        ;; No command has arguments.
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 8192) (local.get $count))
    (i32.store (i32.const 16) (i32.const 8192))
    (i32.store (i32.const 20)
      (i32.add (local.get $bytes) (i32.sub (global.get $out) (i32.const 8192))))
    (i32.const 16))
)
