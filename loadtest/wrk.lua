-- One reading per request. With a rate after `--`, requests leave at that many per second and thread, whatever the
-- answers take (as long as there are connections to spare); with 0 or without one, as fast as they are answered. With
-- a header's name after it each has a value of its own there, such as an Idempotency-Key.
-- Prints its result as one line of JSON.

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"x": 20.125, "y": -0.5, "z": 1013.25}'

local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds; long nanoseconds; } weir_time; int clock_gettime(int clock, weir_time *time);")
local MONOTONIC = 1
local time = ffi.new("weir_time")

local function now()
   ffi.C.clock_gettime(MONOTONIC, time)
   return tonumber(time.seconds) * 1000 + tonumber(time.nanoseconds) / 1e6
end

function init(args)
   local header = args[2]
   if header then
      local run, number = string.format("%.3f", now()), 0
      function request()
         number = number + 1
         wrk.headers[header] = run .. "." .. number
         return wrk.format()
      end
   end
   local rate = tonumber(args[1])
   if not rate or rate == 0 then return end
   local slot = now()
   -- wrk asks for a connection's pause in milliseconds: up to the next slot that no other connection has taken.
   function delay()
      slot = slot + 1000 / rate
      return math.max(0, slot - now())
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "not_answered": %d, "not_accepted": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
