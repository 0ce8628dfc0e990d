"""From the network to the server: twisted.web and Autobahn."""
