# AFF-33: complete as it is printed.
#= afftok-overview/basic-handler.py
