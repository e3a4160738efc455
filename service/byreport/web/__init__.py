"""The service: Flask, thin. A view validates, calls one function and renders."""
