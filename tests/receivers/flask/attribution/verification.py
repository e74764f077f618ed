# ATT-17
import os

from flask import Flask, request

app = Flask(__name__)

#= attribution/verification-example.py
