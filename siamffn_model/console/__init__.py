"""The operator's console: live picture and targets in a browser, over WebSocket."""
