"""What tests share: servers, fakes and helpers. Nothing here is a test."""
