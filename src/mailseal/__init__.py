"""TLS for mail servers: obtain, deploy, prove, and take back what fails."""

__version__ = "0.1.0"
