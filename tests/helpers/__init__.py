"""What tests share: servers and SDKs to test with, streams made by hand, and what was sent."""
