# Faye for Ruby: puma config.ru
require "faye"

# Faye starts EventMachine at the first request, in two threads at once if two come.
Thread.new { EventMachine.run }
Thread.pass until EventMachine.reactor_running?
Faye::WebSocket.load_adapter("puma")
run Faye::RackAdapter.new(mount: "/bayeux", timeout: 45)
