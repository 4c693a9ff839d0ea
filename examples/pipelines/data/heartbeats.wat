;; Drops the events that have the text "heartbeat" in them, in quotes, and hands on
;; the others as they are. Built with: wat2wasm heartbeats.wat
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "\"heartbeat\"null")
  (global $room (mut i32) (i32.const 64))

  ;; alloc gives the memory behind the texts above, and grows it when that is small.
  (func (export "alloc") (param $size i32) (result i32)
    (local $missing i32)
    (local.set $missing (i32.sub (i32.add (i32.const 64) (local.get $size)) (i32.mul (memory.size) (i32.const 65536))))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $missing) (i32.const 16)))))))
    (global.get $room))

  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $at i32) (local $end i32) (local $i i32)
    (local.set $at (local.get $ptr))
    (local.set $end (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 11)))
    (block $absent
      (loop $next
        (br_if $absent (i32.gt_s (local.get $at) (local.get $end)))
        (local.set $i (i32.const 0))
        (block $differs
          (loop $same
            (br_if $differs (i32.ne
              (i32.load8_u (i32.add (local.get $at) (local.get $i)))
              (i32.load8_u (local.get $i))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $same (i32.lt_u (local.get $i) (i32.const 11))))
          ;; all eleven characters are the same: answer null, which stands at 11
          (return (i64.const 0xb00000004)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
      (i64.extend_i32_u (local.get $len)))))
