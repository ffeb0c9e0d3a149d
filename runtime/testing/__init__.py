"""What tests of controllers stand on: a virtual clock and event loop, so that hours pass in milliseconds."""
