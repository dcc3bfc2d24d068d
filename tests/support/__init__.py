"""Servers, fakes and helpers that several tests share. This package contains no tests."""
