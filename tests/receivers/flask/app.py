from flask import Flask, request, jsonify
import hmac
import hashlib
import os

app = Flask(__name__)

@app.route('/webhooks/afftok', methods=['POST'])
def handle_webhook():
    # Verify signature
    signature = request.headers.get('X-Afftok-Signature')
    payload = request.get_data()
    expected_signature = hmac.new(
        os.environ['WEBHOOK_SECRET'].encode(),
        payload,
        hashlib.sha256
    ).hexdigest()

    if signature != expected_signature:
        return jsonify({'error': 'Invalid signature'}), 401

    # Process event
    event = request.json
    
    if event['type'] == 'conversion.created':
        handle_conversion_created(event['data'])
    elif event['type'] == 'conversion.approved':
        handle_conversion_approved(event['data'])
    elif event['type'] == 'fraud.detected':
        handle_fraud_detected(event['data'])
    
    return jsonify({'received': True}), 200

def handle_conversion_created(data):
    print(f"New conversion: {data['conversion_id']}")

def handle_conversion_approved(data):
    print(f"Conversion approved: {data['conversion_id']}")

def handle_fraud_detected(data):
    print(f"Fraud detected: {data['reason']}")

if __name__ == '__main__':
    app.run(port=3000)
