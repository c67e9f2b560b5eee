-- One event a request, each with an id of its own, in turns over the callback URLs.
-- Arguments: an id of this run, the body before and behind the event's id, then "path header value" for each URL.
local run, head, tail
local targets = {}
local number = 0
local thread_number = 0

function setup(thread)
  thread:set("thread_number", thread_number)
  thread_number = thread_number + 1
end

function init(args)
  run, head, tail = args[1], args[2], args[3]
  for position = 4, #args do
    local path, header, value = args[position]:match("^(%S+) (%S+) (.+)$")
    targets[#targets + 1] = { path, { ["Content-Type"] = "application/json", [header] = value } }
  end
end

function request()
  number = number + 1
  local target = targets[number % #targets + 1]
  return wrk.format("POST", target[1], target[2], head .. run .. string.format("-%d-%012d", thread_number, number) .. tail)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local refused = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '\nresult {"answered": %d, "refused": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f}\n',
    summary.requests - errors.status, refused, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000
  ))
end
