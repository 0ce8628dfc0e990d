# Faye for Ruby: puma config.ru
require "faye"

# Faye starts EventMachine with the first request; two concurrent ones would start it twice.
Thread.new { EventMachine.run }
Thread.pass until EventMachine.reactor_running?
Faye::WebSocket.load_adapter("puma")
run Faye::RackAdapter.new(mount: "/bayeux", timeout: 45)
